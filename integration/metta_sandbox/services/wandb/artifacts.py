"""Artifacts, their versions, aliases and files, as queries see them."""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import Any

from metta_sandbox.services.wandb.context import Context, Node, page
from metta_sandbox.services.wandb.database import Database, Row
from metta_sandbox.services.wandb.files import File
from metta_sandbox.services.wandb.filters import matches, ordered, read_filters
from metta_sandbox.services.wandb.ids import make_id, read_id, when
from metta_sandbox.services.wandb.runs import Run

_VERSION = re.compile(r"v(\d+)")


def find_version(db: Database, collection: int, alias: str) -> Row | None:
    """Find an artifact of a collection by an alias or its version, ``v3``."""
    if number := _VERSION.fullmatch(alias):
        return db.row(
            "SELECT * FROM artifacts WHERE collection = ? AND version = ? AND state = 'COMMITTED'",
            *(collection, int(number[1])),
        )
    return db.row(
        "SELECT artifacts.* FROM aliases JOIN artifacts ON artifacts.id = aliases.artifact"
        " WHERE aliases.collection = ? AND alias = ?",
        *(collection, alias),
    )


class ArtifactSequence(Node):
    """A collection: the versions of one artifact."""

    kind = "ArtifactCollection"

    def __init__(self, context: Context, row: Row) -> None:
        super().__init__(context, row)
        self.created_at = self.updated_at = when(row["created_at"])
        self.state = "READY"
        self.digest_algorithm = "MANIFEST_MD5"

    @cached_property
    def project(self) -> Any:
        """Its project."""
        from metta_sandbox.services.wandb.projects import Project  # noqa: PLC0415 - a circle

        row = self.db.row("SELECT * FROM projects WHERE id = ?", self.row["project"])
        assert row is not None
        return Project(self.context, row)

    def default_artifact_type(self) -> ArtifactType:
        """Give the type of what is in it."""
        return ArtifactType(self.project.collections, self.row["type"])

    def tags(self, first: int | None = None, after: str | None = None) -> dict[str, Any]:
        """List its tags, of which there are none."""
        return page([], first, after, dict)

    def aliases(self, first: int | None = None, after: str | None = None) -> dict[str, Any]:
        """List its aliases."""
        rows = self.db.rows(
            "SELECT alias FROM aliases WHERE collection = ? ORDER BY alias", self.row["id"]
        )
        return page([row["alias"] for row in rows], first, after, self.alias)

    def alias(self, name: str) -> dict[str, Any]:
        """Give an alias."""
        return {
            "id": make_id("ArtifactAlias", self.row["id"]),
            "alias": name,
            "artifact_collection": self,
        }

    def artifacts(
        self,
        first: int | None = None,
        after: str | None = None,
        filters: str | None = None,
        order: str | None = None,
    ) -> dict[str, Any]:
        """List its versions, the latest first."""
        rows = self.db.rows(
            "SELECT * FROM artifacts WHERE collection = ? AND state = 'COMMITTED'"
            " ORDER BY version DESC",
            self.row["id"],
        )
        wanted = read_filters(filters)
        found = [row for row in rows if matches(_document(row), wanted)]
        chosen = [dict(each) for each in ordered(found, order)]
        listed = page(chosen, first, after, lambda row: Artifact(self.context, row))
        for edge in listed["edges"]:
            edge["version"] = f"v{edge['node'].version_index}"
        return listed

    def latest_artifact(self) -> Artifact | None:
        """Find its latest version."""
        row = find_version(self.db, self.row["id"], "latest")
        return Artifact(self.context, row) if row else None

    def artifact_membership(self, alias_name: str) -> ArtifactCollectionMembership | None:
        """Find a version by an alias."""
        row = find_version(self.db, self.row["id"], alias_name)
        return ArtifactCollectionMembership(Artifact(self.context, row)) if row else None


def _document(row: Row) -> dict[str, Any]:
    """Give a version as filters see it."""
    return {**row, "versionIndex": row["version"], "createdAt": when(row["created_at"])}


class Collections:
    """The collections of a project."""

    def __init__(self, context: Context, project: Row) -> None:
        self._context = context
        self._db = context.db
        self._project = project["id"]

    @staticmethod
    def by_id(context: Context, text: str) -> ArtifactSequence | None:
        """Find a collection of any project by its id."""
        number = read_id(ArtifactSequence.kind, text)
        row = context.db.row("SELECT * FROM collections WHERE id = ?", number)
        return ArtifactSequence(context, row) if row else None

    def types(self) -> list[str]:
        """Name the types of what is in them."""
        rows = self._db.rows(
            "SELECT DISTINCT type FROM collections WHERE project = ? ORDER BY type", self._project
        )
        return [row["type"] for row in rows]

    def find(self, name: str, kind: str | None = None) -> ArtifactSequence | None:
        """Find a collection by its name, and its type, if that matters."""
        row = self._db.row(
            "SELECT * FROM collections WHERE project = ? AND name = ? AND type = COALESCE(?, type)",
            *(self._project, name, kind),
        )
        return ArtifactSequence(self._context, row) if row else None

    def pages(
        self,
        first: int | None = None,
        after: str | None = None,
        filters: str | None = None,
        order: str | None = None,
        kind: str | None = None,
    ) -> dict[str, Any]:
        """List collections, the latest first."""
        rows = self._db.rows(
            "SELECT * FROM collections WHERE project = ? AND type = COALESCE(?, type)"
            " ORDER BY id DESC",
            *(self._project, kind),
        )
        wanted = read_filters(filters)
        found = [dict(each) for each in ordered([r for r in rows if matches(r, wanted)], order)]
        return page(found, first, after, lambda row: ArtifactSequence(self._context, row))

    def artifact(self, name: str, kind: str | None = None) -> Artifact | None:
        """Find an artifact by ``collection:alias``; without an alias, the latest."""
        collection, _, alias = name.partition(":")
        found = self.find(collection, kind)
        row = found and find_version(self._db, found.row["id"], alias or "latest")
        return Artifact(self._context, row) if row else None

    def membership(self, name: str) -> ArtifactCollectionMembership | None:
        """Find an artifact in its collection by ``collection:alias``."""
        found = self.artifact(name)
        return ArtifactCollectionMembership(found) if found else None


class ArtifactType:
    """A type of artifacts, which is no more than a name."""

    def __init__(self, collections: Collections, name: str) -> None:
        self._collections = collections
        self.id = make_id("ArtifactType", 1)
        self.name = name
        self.description = self.created_at = None

    def artifact(self, name: str) -> Artifact | None:
        """Find an artifact of this type."""
        return self._collections.artifact(name, self.name)

    def artifact_collection(self, name: str) -> ArtifactSequence | None:
        """Find a collection of this type."""
        return self._collections.find(name, self.name)

    def artifact_collections(self, **words: Any) -> dict[str, Any]:
        """List collections of this type."""
        return self._collections.pages(**words, kind=self.name)


class Artifact(Node):
    """One version of an artifact."""

    kind = "Artifact"

    def __init__(self, context: Context, row: Row) -> None:
        super().__init__(context, row)
        self.version_index = row["version"]
        self.digest_algorithm = row["digest_algorithm"] or "MANIFEST_MD5"
        self.commit_hash = f"{row['id']:020x}"
        self.ttl_duration_seconds = -1  # for ever
        self.ttl_is_inherited = True
        self.created_at = when(row["created_at"])
        self.updated_at = when(row["updated_at"])
        self.tags = [
            {"id": make_id("Tag", number), "name": name}
            for number, name in enumerate(json.loads(row["tags"]))
        ]

    @classmethod
    def by_id(cls, context: Context, text: str) -> Artifact | None:
        """Find an artifact by its id."""
        row = context.db.row("SELECT * FROM artifacts WHERE id = ?", read_id(cls.kind, text))
        return cls(context, row) if row else None

    @cached_property
    def artifact_sequence(self) -> ArtifactSequence:
        """The collection that it is a version of."""
        row = self.db.row("SELECT * FROM collections WHERE id = ?", self.row["collection"])
        assert row is not None
        return ArtifactSequence(self.context, row)

    def artifact_type(self) -> ArtifactType:
        """Give its type."""
        return self.artifact_sequence.default_artifact_type()

    def aliases(self) -> list[dict[str, Any]]:
        """List its aliases."""
        rows = self.db.rows(
            "SELECT alias FROM aliases WHERE artifact = ? ORDER BY alias", self.row["id"]
        )
        return [self.artifact_sequence.alias(row["alias"]) for row in rows]

    def artifact_memberships(
        self, first: int | None = None, after: str | None = None
    ) -> dict[str, Any]:
        """List the collections that it is in: one, since nothing is linked."""
        return page([self], first, after, ArtifactCollectionMembership)

    @cached_property
    def _contents(self) -> dict[str, Any]:
        """What its manifest says of each of its files."""
        manifest = self.current_manifest()
        sha256 = manifest and manifest["file"].row["sha256"]
        if not sha256:
            return {}
        try:
            found = json.loads(self.context.blobs.path(sha256).read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        contents = found.get("contents") if isinstance(found, dict) else None
        return contents if isinstance(contents, dict) else {}

    def current_manifest(self) -> dict[str, Any] | None:
        """Give its manifest, if one has been sent."""
        row = self.db.row(
            "SELECT manifests.id AS manifest, manifests.digest AS told, files.* FROM manifests"
            " JOIN files ON files.owner = 'manifest' AND files.owner_id = manifests.id"
            " WHERE artifact = ? AND files.sha256 IS NOT NULL"
            " AND COALESCE(manifests.type, 'FULL') = 'FULL' ORDER BY manifests.id DESC LIMIT 1",
            self.row["id"],
        )
        if row is None:
            return None
        return {
            "id": make_id("ArtifactManifest", row["manifest"]),
            "digest": row["told"],
            "file": File(self.context, row, held=True),
        }

    def size(self) -> int:
        """Add up the bytes of its files."""
        sizes = [entry.get("size") for entry in self._contents.values() if isinstance(entry, dict)]
        return sum(size for size in sizes if isinstance(size, int))

    def file_count(self) -> int:
        """Count its files."""
        return len(self._contents)

    def created_by(self) -> Run | None:
        """Find the run that made it."""
        row = self.db.row("SELECT * FROM runs WHERE id = ? AND NOT deleted", self.row["run"])
        return Run(self.context, row) if row else None

    def used_by(self) -> dict[str, Any]:
        """List the runs that used it."""
        rows = self.db.rows(
            "SELECT runs.* FROM uses JOIN runs ON runs.id = uses.run"
            " WHERE artifact = ? AND NOT deleted ORDER BY runs.id",
            self.row["id"],
        )
        return page(rows, None, None, lambda row: Run(self.context, row))

    def files(
        self,
        names: list[str] | None = None,
        first: int | None = None,
        after: str | None = None,
    ) -> dict[str, Any]:
        """List its files."""
        found = [name for name in sorted(self._contents) if not names or name in names]
        rows = [row for row in map(self._file, found) if row]
        return page(rows, first, after, lambda row: File(self.context, row, self, held=True))

    def files_by_manifest_entries(
        self,
        entries: list[dict[str, Any]] | None = None,
        first: int | None = None,
        after: str | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        """List the files of some entries."""
        return self.files([entry["name"] for entry in entries or ()], first, after)

    def _file(self, name: str) -> Row | None:
        """Find a file's content by its digest; an earlier version may have brought it."""
        entry = self._contents[name]
        digest = entry.get("digest") if isinstance(entry, dict) else None
        row = self.db.row(
            "SELECT * FROM files WHERE owner = 'artifact' AND md5 = ? AND sha256 IS NOT NULL"
            " ORDER BY owner_id = ? DESC LIMIT 1",
            *(digest, self.row["id"]),
        )
        return row and {**row, "name": name}


class ArtifactCollectionMembership:
    """An artifact as a version of its collection."""

    def __init__(self, artifact: Artifact) -> None:
        self.id = make_id("ArtifactCollectionMembership", artifact.row["id"])
        self.artifact = artifact
        self.version_index = artifact.version_index
        self.created_at = artifact.created_at
        self.artifact_collection = artifact.artifact_sequence
        self.aliases = artifact.aliases
        self.files = artifact.files
