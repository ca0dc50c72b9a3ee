"""What makes and changes artifacts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from graphql import GraphQLError

from metta_sandbox.services.wandb.artifacts import Artifact, find_version
from metta_sandbox.services.wandb.blobs import register
from metta_sandbox.services.wandb.context import Context, page
from metta_sandbox.services.wandb.database import now
from metta_sandbox.services.wandb.files import File
from metta_sandbox.services.wandb.ids import (
    MissingError,
    checked_name,
    checked_path,
    make_id,
    read_id,
)
from metta_sandbox.services.wandb.runs import find_run


class ArtifactMutations:
    """What makes and changes artifacts."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.db

    def create_artifact_type(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Hear of a type, which is there once a collection has it."""
        return {"artifact_type": {"id": make_id("ArtifactType", 1), "name": given["name"]}}

    def create_artifact(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a version; one of the same content is given again."""
        names = [
            given.get("artifact_collection_name"),
            *(given.get("artifact_collection_names") or []),
        ]
        name = next(filter(None, names), None)
        if name is None:
            raise GraphQLError("an artifact needs a collection")
        with self._db.transaction():
            project = self._project(given)
            collection = self._collection(project, name, given)
            known = self._db.row(
                "SELECT * FROM artifacts WHERE collection = ? AND digest = ?"
                " AND state = 'COMMITTED' ORDER BY id DESC LIMIT 1",
                *(collection, given["digest"]),
            )
            aliases = [each["alias"] for each in given.get("aliases") or ()]
            if known and given.get("enable_digest_deduplication"):
                self._alias(collection, known["id"], aliases)
                number = known["id"]
                if given.get("client_id"):
                    self._db.update("artifacts", number, client_id=given["client_id"])
            else:
                number = self._new_artifact(project, collection, given, aliases)
            self._context.note(artifact=number, collection=name)
        return {"artifact": self._artifact(number)}

    def _new_artifact(
        self,
        project: int,
        collection: int,
        given: Mapping[str, Any],
        aliases: list[str],
    ) -> int:
        run = find_run(self._db, project, given["run_name"]) if given.get("run_name") else None
        tags = [each["tag_name"] for each in given.get("tags") or ()]
        return self._db.insert(
            "artifacts",
            collection=collection,
            digest=given["digest"],
            digest_algorithm=given["digest_algorithm"],
            description=given.get("description"),
            metadata=given.get("metadata"),
            tags=json.dumps(tags),
            run=run and run["id"],
            client_id=given.get("client_id"),
            wanted_aliases=json.dumps(aliases),
            history_step=given.get("history_step"),
            created_at=now(),
            updated_at=now(),
        )

    def _project(self, given: Mapping[str, Any]) -> int:
        from metta_sandbox.services.wandb.projects import ensure_project  # noqa: PLC0415 - a circle

        row, _ = ensure_project(self._db, given["entity_name"], given["project_name"])
        return int(row["id"])

    def _collection(
        self,
        project: int,
        name: str,
        given: Mapping[str, Any],
    ) -> int:
        kind = given["artifact_type_name"]
        row = self._db.row(
            "SELECT * FROM collections WHERE project = ? AND name = ?", project, name
        )
        if row is None:
            return self._db.insert(
                "collections",
                project=project,
                type=checked_name(kind, "artifact type"),
                name=checked_name(name, "artifact"),
                client_id=given.get("sequence_client_id"),
                created_at=now(),
            )
        if row["type"] != kind:
            raise GraphQLError(f"artifact {name!r} is of the type {row['type']!r}, not {kind!r}")
        return int(row["id"])

    def create_artifact_manifest(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Say where an artifact's manifest is sent."""
        artifact = self._artifact(read_id("Artifact", given["artifact_id"]))
        with self._db.transaction():
            number = self._db.insert(
                "manifests",
                artifact=artifact.row["id"],
                name=given["name"],
                digest=given["digest"],
                type=given.get("type"),
            )
            register(self._db, "manifest", number, given["name"], "application/json")
            self._context.note(artifact=artifact.row["id"])
        return self._manifest(number)

    def update_artifact_manifest(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Say where an artifact's manifest is sent, now that its digest is known."""
        number = read_id("ArtifactManifest", given["artifact_manifest_id"])
        if given.get("digest"):
            self._db.update("manifests", number, digest=given["digest"])
        return self._manifest(number)

    def _manifest(self, number: int) -> dict[str, Any]:
        row = self._db.row("SELECT * FROM files WHERE owner = 'manifest' AND owner_id = ?", number)
        if row is None:
            raise MissingError("no such manifest")
        manifest = {"id": make_id("ArtifactManifest", number), "file": File(self._context, row)}
        return {"artifact_manifest": manifest}

    def create_artifact_files(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Say where an artifact's files are sent; those whose content is there need not be."""
        files = []
        with self._db.transaction():
            for spec in given["artifact_files"]:
                artifact = self._artifact(read_id("Artifact", spec["artifact_id"]))
                files.append(self._artifact_file(artifact, spec))
            self._context.note(files=[spec["name"] for spec in given["artifact_files"]])
        return {"files": page(files, None, None, lambda file: file)}

    def _artifact_file(self, artifact: Artifact, spec: Mapping[str, Any]) -> File:
        row = self._db.row(
            "SELECT files.*, artifacts.id AS birth FROM files"
            " JOIN artifacts ON artifacts.id = files.owner_id"
            " JOIN collections ON collections.id = artifacts.collection"
            " WHERE owner = 'artifact' AND md5 = ? AND sha256 IS NOT NULL"
            " AND collections.project = ? LIMIT 1",
            *(spec["md5"], artifact.artifact_sequence.row["project"]),
        )
        if row is not None:
            return File(self._context, row, self._artifact(row["birth"]), held=True)
        number = register(
            self._db,
            "artifact",
            artifact.row["id"],
            checked_path(spec["name"]),
            spec.get("mimetype"),
        )
        self._db.update("files", number, md5=spec["md5"])
        made = self._db.row("SELECT * FROM files WHERE id = ?", number)
        assert made is not None
        return File(self._context, made, artifact)

    def commit_artifact(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """End a version: now it can be asked for."""
        number = read_id("Artifact", given["artifact_id"])
        with self._db.transaction():
            row = self._artifact(number).row
            if row["state"] == "PENDING":
                version = self._db.value(
                    "SELECT COALESCE(MAX(version), -1) + 1 FROM artifacts WHERE collection = ?",
                    row["collection"],
                )
                self._db.update(
                    "artifacts", number, state="COMMITTED", version=version, updated_at=now()
                )
                self._alias(
                    row["collection"], number, ["latest", *json.loads(row["wanted_aliases"])]
                )
            self._context.note(row["run"], artifact=number)
        return {"artifact": self._artifact(number)}

    def use_artifact(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Keep that a run used an artifact."""
        artifact = self._artifact(read_id("Artifact", given["artifact_id"]))
        with self._db.transaction():
            run = find_run(self._db, self._project(given), given["run_name"])
            if run is None:
                raise MissingError(f"no run {given['run_name']!r}")
            self._db.write(
                "INSERT INTO uses VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                *(run["id"], artifact.row["id"], given.get("used_as")),
            )
            self._context.note(run["id"], artifact=artifact.row["id"])
        return {"artifact": artifact}

    def update_artifact(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Change what is written of an artifact; given aliases take the place of all others."""
        number = read_id("Artifact", given["artifact_id"])
        with self._db.transaction():
            row = self._artifact(number).row
            changes = {
                key: given[key] for key in ("description", "metadata") if given.get(key) is not None
            }
            gone = {each["tag_name"] for each in given.get("tags_to_delete") or ()}
            added = [each["tag_name"] for each in given.get("tags_to_add") or ()]
            tags = dict.fromkeys([*json.loads(row["tags"]), *added])
            changes["tags"] = json.dumps([tag for tag in tags if tag not in gone])
            self._db.update("artifacts", number, **changes, updated_at=now())
            if given.get("aliases") is not None:
                self._db.write("DELETE FROM aliases WHERE artifact = ?", number)
                self._alias(row["collection"], number, [a["alias"] for a in given["aliases"]])
            self._context.note(row["run"], artifact=number)
        return {"artifact": self._artifact(number)}

    def delete_artifact(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Delete a version, which must have no alias, or lose them."""
        number = read_id("Artifact", given["artifact_id"])
        with self._db.transaction():
            artifact = self._artifact(number)
            if artifact.aliases() and not given.get("delete_aliases"):
                raise GraphQLError("cannot delete an artifact that has an alias")
            self._db.write("DELETE FROM aliases WHERE artifact = ?", number)
            self._db.update("artifacts", number, state="DELETED", updated_at=now())
            self._context.note(artifact.row["run"], artifact=number)
        return {"artifact": self._artifact(number)}

    def add_aliases(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Give an artifact aliases."""
        row = self._artifact(read_id("Artifact", given["artifact_id"])).row
        with self._db.transaction():
            self._alias(row["collection"], row["id"], [each["alias"] for each in given["aliases"]])
            self._context.note(row["run"], artifact=row["id"])
        return {"success": True}

    def delete_aliases(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Take aliases from an artifact."""
        row = self._artifact(read_id("Artifact", given["artifact_id"])).row
        with self._db.transaction():
            for each in given["aliases"]:
                self._db.write(
                    "DELETE FROM aliases WHERE artifact = ? AND alias = ?", row["id"], each["alias"]
                )
            self._context.note(row["run"], artifact=row["id"])
        return {"success": True}

    def _alias(self, collection: int, artifact: int, names: Iterable[str]) -> None:
        """Point aliases at an artifact; a version's own number is no alias."""
        for name in names:
            if find_version(self._db, collection, name) and name[1:].isdecimal() and name[0] == "v":
                continue
            self._db.write(
                "INSERT INTO aliases VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET artifact = excluded.artifact",
                *(collection, name, artifact),
            )

    def _artifact(self, number: int) -> Artifact:
        row = self._db.row("SELECT * FROM artifacts WHERE id = ?", number)
        if row is None:
            raise MissingError("no such artifact")
        return Artifact(self._context, row)
