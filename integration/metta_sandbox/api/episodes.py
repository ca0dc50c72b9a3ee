"""Evaluated episodes: one by one, many as a DuckDB file, and asked for again.

Annotations are evaluated here, since FastAPI reads those of functions made inside functions.
"""

import json
import shlex
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Request
from pydantic import Field

from metta_sandbox.api.common import (
    MAY_BE_MISSING,
    IdempotencyKey,
    Kept,
    Named,
    Refusals,
    as_json,
    found,
    now,
)
from metta_sandbox.api.store import Store

_KIND, _UPLOADS = "episodes", "uploads"
#: Where a file is put whose address was asked for; the address is what lets one in.
UPLOADS = "/uploads/"
#: Where the control plane's packages lie in containers of ours.
_IN_CONTAINERS = "/opt/metta"
#: What a DuckDB file has behind the checksum it begins with.
_MAGIC = b"DUCK"
_BAD_UPLOAD: Refusals = {**MAY_BE_MISSING, 400: {"description": "It is no DuckDB file."}}


class EpisodeIn(Kept):
    """One evaluated episode: each agent's metrics, by the agent's number."""

    primary_policy_id: Named
    agent_metrics: dict[str, dict[str, float]]


class QueryIn(Kept):
    """Which episodes are asked for."""

    primary_policy_version_ids: list[str] | None = None
    episode_ids: list[str] | None = None
    tag_filters: dict[str, list[str] | None] | None = None
    limit: Annotated[int, Field(ge=0)] | None = 200
    offset: Annotated[int, Field(ge=0)] = 0


class UploadedIn(Kept):
    """That a file is where it was to be put."""

    upload_id: Named


def add_episodes(app: FastAPI, store: Store, data: Path) -> None:
    """Give an application the routes of episodes.

    Args:
        app: Gets the routes.
        store: Keeps episodes.
        data: The folder in which files are kept that are uploaded.

    """
    _add_uploads(app, store, data)

    @app.post("/stats/episodes")
    async def add_episode(
        body: EpisodeIn, idempotency_key: IdempotencyKey = None
    ) -> dict[str, str]:
        """Give `{"id"}`."""
        return {"id": store.add(_KIND, as_json(body), key=idempotency_key)}

    @app.get("/stats/episodes")
    async def episodes() -> list[dict[str, Any]]:
        """List what was kept, oldest first."""
        return store.records(_KIND)

    @app.post("/stats/episodes/query")
    async def query(body: QueryIn) -> dict[str, Any]:
        """Give `{"episodes"}` that suit all that is asked for, with tags and mean rewards."""
        some = [one for one in map(_with_tags, store.records(_KIND)) if _suits(one, body)]
        end = None if body.limit is None else body.offset + body.limit
        return {"episodes": some[body.offset : end]}

    @app.get("/stats/episodes/{record_id}", responses=MAY_BE_MISSING)
    async def episode(record_id: str) -> dict[str, Any]:
        """Give what was kept of it."""
        return found(store.record(_KIND, record_id), _KIND, record_id)


def _add_uploads(app: FastAPI, store: Store, data: Path) -> None:
    def file_of(upload_id: str) -> Path:
        found(store.record(_UPLOADS, upload_id), _UPLOADS, upload_id)
        return data / "uploads" / f"{upload_id}.duckdb"

    @app.post("/stats/episodes/bulk_upload/presigned-url")
    async def presigned(request: Request) -> dict[str, str]:
        """Give `{"upload_url", "s3_key", "upload_id"}`: where to put a file; no token is asked."""
        upload_id = store.add(_UPLOADS, {"created_at": now()})
        url = f"{str(request.base_url).rstrip('/')}{UPLOADS}{upload_id}"
        return {
            "upload_url": url,
            "s3_key": f"episodes/{upload_id}.duckdb",
            "upload_id": upload_id,
        }

    @app.put(f"{UPLOADS}{{upload_id}}", responses=MAY_BE_MISSING)
    async def upload(upload_id: str, request: Request) -> dict[str, int]:
        """Give `{"size"}` of a file that is kept in `DATA/uploads`."""
        file = file_of(upload_id)
        content = await request.body()
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        return {"size": len(content)}

    @app.post("/stats/episodes/bulk_upload/complete", responses=_BAD_UPLOAD)
    async def complete(body: UploadedIn) -> dict[str, Any]:
        """Give `{"episodes_created", "duckdb_s3_uri"}`; 0, and `lacks`, without package duckdb."""
        file = file_of(body.upload_id)
        if not file.exists() or file.read_bytes()[8:12] != _MAGIC:
            raise HTTPException(400, f"no DuckDB file was put at {UPLOADS}{body.upload_id}")
        count = 0
        if find_spec("duckdb") is None:
            return {"episodes_created": 0, "duckdb_s3_uri": file.as_uri(), "lacks": _lacks()}
        for count, each in enumerate(_read(file), 1):  # noqa: B007 - the last one counts
            store.add(_KIND, {**each, "created_at": now()}, record_id=str(each["id"]))
        return {"episodes_created": count, "duckdb_s3_uri": file.as_uri()}


def _lacks() -> str:
    """Say why no episode is read, and which command mends that."""
    install = f"{shlex.quote(sys.executable)} -m pip install duckdb"
    if Path(sys.prefix).is_relative_to(_IN_CONTAINERS):
        # Nothing can be installed there: it is an image without a way out.
        install = "python -m pip install duckdb (on this machine), then --engine process"
    return f"its episodes were not read, as the control plane has no package duckdb: {install}"


def _read(file: Path) -> Iterator[dict[str, Any]]:
    """Read the episodes of a DuckDB file, as newer clients write it."""
    duckdb = import_module("duckdb")
    with duckdb.connect(str(file), read_only=True) as base:

        def rows(query: str, *values: str) -> list[tuple[Any, ...]]:
            fetched: list[tuple[Any, ...]] = base.execute(query, list(values)).fetchall()
            return fetched

        columns = ("id", "primary_pv_id", "replay_url", "thumbnail_url", "attributes")
        for row in rows(f"SELECT {', '.join(columns)} FROM episodes"):  # noqa: S608 - our names
            one = dict(zip(columns, row, strict=True))
            own, where = str(one["id"]), "WHERE episode_id = ?"
            policies = f"SELECT agent_id, policy_version_id FROM episode_agent_policies {where}"  # noqa: S608
            metrics = f"SELECT agent_id, metric, value FROM episode_agent_metrics {where}"  # noqa: S608
            told: dict[str, dict[str, float]] = {}
            for agent, metric, value in rows(metrics, own):
                told.setdefault(str(agent), {})[metric] = value
            yield {
                **one,
                "attributes": json.loads(one["attributes"] or "{}"),
                "tags": dict(rows(f"SELECT key, value FROM episode_tags {where}", own)),  # noqa: S608
                "agent_policies": {str(agent): policy for agent, policy in rows(policies, own)},
                "agent_metrics": told,
            }


def _with_tags(record: dict[str, Any]) -> dict[str, Any]:
    """Give an episode, whoever recorded it, as it is asked for."""
    primary = record.get("primary_pv_id") or record.get("primary_policy_id")
    policies = record.get("agent_policies")
    rewards: dict[str, list[float]] = {}
    for agent, metrics in (record.get("agent_metrics") or {}).items():
        policy = policies.get(agent) if isinstance(policies, dict) else primary
        if "reward" in metrics and policy:
            rewards.setdefault(str(policy), []).append(metrics["reward"])
    tags = record.get("tags")
    return {
        **dict.fromkeys(("replay_url", "thumbnail_url", "eval_task_id")),
        **{key: record[key] for key in record.keys() & _TOLD},
        "id": record["id"],
        "primary_pv_id": primary,
        "attributes": record.get("attributes") or {},
        "created_at": record.get("created_at", _EPOCH),
        "tags": tags if isinstance(tags, dict) else dict.fromkeys(map(str, tags or ()), ""),
        "avg_rewards": {policy: fmean(each) for policy, each in rewards.items()},
    }


_TOLD = frozenset({"replay_url", "thumbnail_url", "eval_task_id"})
#: When an episode was recorded of which nobody said it.
_EPOCH = "1970-01-01T00:00:00+00:00"


def _suits(episode: dict[str, Any], asked: QueryIn) -> bool:
    versions, ids = asked.primary_policy_version_ids, asked.episode_ids
    return (
        (versions is None or episode["primary_pv_id"] in versions)
        and (ids is None or episode["id"] in ids)
        and all(
            key in episode["tags"] and (values is None or episode["tags"][key] in values)
            for key, values in (asked.tag_filters or {}).items()
        )
    )
