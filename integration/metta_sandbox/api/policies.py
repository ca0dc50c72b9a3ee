"""Policies and their versions, as clients of Observatory since 2026 keep them.

Annotations are evaluated here, since FastAPI reads those of functions made inside functions.
"""

from typing import Annotated, Any

from fastapi import Body, FastAPI, Query, Request
from pydantic import Field

from metta_sandbox.api.common import (
    MAY_BE_MISSING,
    IdempotencyKey,
    Kept,
    Limit,
    Named,
    Offset,
    Values,
    as_json,
    found,
    now,
    who,
)
from metta_sandbox.api.store import Store
from metta_sandbox.observatory_tokens import Tokens

_KIND, _VERSIONS = "policies", "policy-versions"


class PolicyIn(Kept):
    """A policy; a checkpoint that was evaluated, for clients of 2025."""

    name: Named


class VersionIn(Kept):
    """A version of a policy."""

    policy_spec: Values = Field(default_factory=dict)
    git_hash: str | None = None
    attributes: Values = Field(default_factory=dict)
    s3_path: str | None = None


def add_policies(app: FastAPI, store: Store, tokens: Tokens) -> None:
    """Give an application the routes of policies."""
    _add_policies(app, store, tokens)
    _add_versions(app, store)
    _add_lists(app, store, tokens)

    @app.get("/stats/policies/{record_id}", responses=MAY_BE_MISSING)
    async def policy(record_id: str) -> dict[str, Any]:
        """Give what was kept of it; of a version's id, the version with its tags."""
        version = store.record(_VERSIONS, record_id)
        if version is not None:
            return _public(store, version)
        return found(store.record(_KIND, record_id), _KIND, record_id)


def _add_policies(app: FastAPI, store: Store, tokens: Tokens) -> None:
    @app.post("/stats/policies")
    async def add_policy(
        body: PolicyIn, request: Request, idempotency_key: IdempotencyKey = None
    ) -> dict[str, str]:
        """Give `{"id"}`: a new one; with `is_system_policy`, as newer clients send it, by name."""
        said = as_json(body)
        if "is_system_policy" not in said:
            return {"id": store.add(_KIND, said, key=idempotency_key)}
        for known in store.records(_KIND):
            if known["name"] == body.name:
                return {"id": str(known["id"])}
        user = "system" if said["is_system_policy"] else who(request, tokens)
        kept = {**said, "user_id": user, "created_at": now()}
        return {"id": store.add(_KIND, kept, key=idempotency_key)}

    @app.get("/stats/policies")
    async def policies() -> list[dict[str, Any]]:
        """List what was kept, oldest first."""
        return store.records(_KIND)

    @app.get("/stats/policies/ids")
    async def ids(policy_names: Annotated[list[str], Query()] = []) -> dict[str, Any]:  # noqa: B006
        """Give `{"policy_ids"}`: by name the id of the newest of each of `policy_names`."""
        known = {record["name"]: record["id"] for record in store.records(_KIND)}
        return {"policy_ids": {name: known[name] for name in policy_names if name in known}}


def _add_versions(app: FastAPI, store: Store) -> None:
    @app.post("/stats/policies/{policy_id}/versions", responses=MAY_BE_MISSING)
    async def add_version(policy_id: str, body: VersionIn) -> dict[str, str]:
        """Give `{"id"}`. A policy's versions are counted from 1."""
        found(store.record(_KIND, policy_id), _KIND, policy_id)
        every = store.records(_VERSIONS)
        version = 1 + sum(each["policy_id"] == policy_id for each in every)
        about = {"policy_id": policy_id, "version": version, "internal_id": len(every) + 1}
        kept = {**as_json(body), **about, "created_at": now(), "tags": {}}
        return {"id": store.add(_VERSIONS, kept)}

    @app.get("/stats/policies/{policy_id}/versions")
    async def versions_of(policy_id: str, limit: Limit = 500, offset: Offset = 0) -> dict[str, Any]:
        """Give `{"entries", "total_count"}` of a policy's versions, newest first."""
        own = (one for one in _versions(store) if one["policy_id"] == policy_id)
        return _page(list(own), limit, offset)

    @app.get("/stats/policies/versions/{version_id}", responses=MAY_BE_MISSING)
    async def version(version_id: str) -> dict[str, Any]:
        """Give a version whole, with its policy's name."""
        one = found(store.record(_VERSIONS, version_id), _VERSIONS, version_id)
        return {**one, "name": (store.record(_KIND, one["policy_id"]) or {}).get("name", "")}

    @app.put("/stats/policies/versions/{version_id}/tags", responses=MAY_BE_MISSING)
    async def tag(version_id: str, tags: Annotated[dict[str, str], Body()]) -> dict[str, str]:
        """Give `{"id"}` of a version that has these tags, too, from now on."""

        def tagged(one: dict[str, Any]) -> dict[str, Any]:
            return {**one, "tags": {**one["tags"], **tags}}

        found(store.change(_VERSIONS, version_id, tagged), _VERSIONS, version_id)
        return {"id": version_id}


def _add_lists(app: FastAPI, store: Store, tokens: Tokens) -> None:
    @app.get("/stats/policies/my-versions")
    async def mine(request: Request) -> dict[str, Any]:
        """Give `{"entries"}`: the versions of the caller's policies."""
        user = who(request, tokens)
        return {"entries": [one for one in _versions(store) if one["user_id"] == user]}

    @app.get("/stats/policy-versions")
    async def versions(
        name_exact: str | None = None,
        name_fuzzy: str | None = None,
        version: int | None = None,
        policy_version_ids: Annotated[list[str] | None, Query()] = None,
        limit: Limit = 50,
        offset: Offset = 0,
    ) -> dict[str, Any]:
        """Give `{"entries", "total_count"}` of the versions that suit all that is asked for."""
        return _page(
            [
                one
                for one in _versions(store)
                if name_exact in (None, one["name"])
                and (name_fuzzy or "").lower() in one["name"].lower()
                and version in (None, one["version"])
                and (policy_version_ids is None or one["id"] in policy_version_ids)
            ],
            limit,
            offset,
        )


def _versions(store: Store) -> list[dict[str, Any]]:
    return [_public(store, one) for one in reversed(store.records(_VERSIONS))]


def _public(store: Store, version: dict[str, Any]) -> dict[str, Any]:
    policy = store.record(_KIND, version["policy_id"]) or {}
    count = sum(each["policy_id"] == version["policy_id"] for each in store.records(_VERSIONS))
    return {
        **{key: version[key] for key in ("id", "policy_id", "created_at", "version", "tags")},
        "policy_created_at": policy.get("created_at", version["created_at"]),
        "user_id": policy.get("user_id", "anonymous"),
        "name": policy.get("name", ""),
        "version_count": count,
    }


def _page(entries: list[dict[str, Any]], limit: int, offset: int) -> dict[str, Any]:
    return {"entries": entries[offset : offset + limit], "total_count": len(entries)}
