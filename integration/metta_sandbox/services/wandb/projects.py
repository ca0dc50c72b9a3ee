"""Whoever asks, entities and projects, as queries see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metta_sandbox.services.wandb.artifacts import Artifact, ArtifactType, Collections
from metta_sandbox.services.wandb.context import Context, Node, page
from metta_sandbox.services.wandb.database import Database, Row, now
from metta_sandbox.services.wandb.filters import matches, ordered, read_filters
from metta_sandbox.services.wandb.ids import checked_name, make_id, when
from metta_sandbox.services.wandb.runs import Run, document, find_run
from metta_sandbox.services.wandb.sweeps import Sweep

#: What clients ask no server for that does not announce it.
_FEATURES = ("SWEEPS_QUERY_FILTERING", "UPDATE_RUN_STATE")


def find_project(db: Database, entity: str, name: str) -> Row | None:
    """Find a project."""
    return db.row("SELECT * FROM projects WHERE entity = ? AND name = ?", entity, name)


def ensure_project(db: Database, entity: str, name: str) -> tuple[Row, bool]:
    """Find a project, or make it; tell whether it is new.

    Raises:
        GraphQLError: It can't have this name.

    """
    with db.transaction():
        found = find_project(db, entity, name)
        if found:
            return found, False
        checked_name(entity, "entity")
        checked_name(name, "project")
        db.insert("projects", entity=entity, name=name, created_at=now())
        made = find_project(db, entity, name)
    assert made is not None
    return made, True


class Entity:
    """A user or a team; the stand-in knows no difference."""

    def __init__(self, name: str) -> None:
        self.id = make_id("Entity", 1)
        self.name = name
        self.is_team = False
        self.available = False
        self.photo_url = None
        self.organization = None
        self.xxhash_digests_enabled = False
        self.read_only = False
        self.user = None


class User:
    """Whoever holds a key."""

    def __init__(self, name: str) -> None:
        self.id = make_id("User", 1)
        self.name = self.username = self.entity = name
        self.email = f"{name}@example.com"
        self.admin = False
        self.flags = "{}"
        self.deleted_at = self.photo_url = None
        self.api_keys = self.teams = page([], None, None, dict)
        self.organizations: list[Any] = []


class Project(Node):
    """A project."""

    kind = "Project"

    def __init__(self, context: Context, row: Row) -> None:
        super().__init__(context, row)
        self.internal_id = make_id("ProjectInternalId", row["id"])
        self.entity_name = row["entity"]
        self.entity = Entity(row["entity"])
        self.user = User(row["entity"])
        self.created_at = when(row["created_at"])
        self.docker_image = None
        self.is_benchmark = self.read_only = False
        self.tags: list[Any] = []
        self.collections = Collections(context, row)

    def run(self, name: str, desc: str | None = None) -> Run | None:  # noqa: ARG002 - old clients'
        """Find a run."""
        row = find_run(self.db, self.row["id"], name)
        return Run(self.context, row) if row else None

    def bucket(
        self, name: str, desc: str | None = None, missing_ok: bool | None = None
    ) -> Run | None:
        """Find a run, by its older name."""
        del missing_ok
        return self.run(name, desc)

    def runs(
        self,
        filters: str | None = None,
        order: str | None = None,
        first: int | None = None,
        after: str | None = None,
    ) -> dict[str, Any]:
        """List runs."""
        found = self._found(filters)
        chosen = [each["row"] for each in ordered(found, order or "-created_at")]
        return page(chosen, first, after, lambda row: Run(self.context, row))

    def buckets(self, **words: Any) -> dict[str, Any]:
        """List runs, by their older name."""
        return self.runs(**words)

    def run_count(self, filters: str | None = None) -> int:
        """Count runs."""
        return len(self._found(filters))

    def _found(self, filters: str | None) -> list[Mapping[str, Any]]:
        rows = self.db.rows(
            "SELECT runs.*, sweeps.name AS sweep_name FROM runs"
            " LEFT JOIN sweeps ON sweeps.id = runs.sweep"
            " WHERE runs.project = ? AND NOT deleted ORDER BY runs.id",
            self.row["id"],
        )
        wanted = read_filters(filters)
        return [each for each in map(document, rows) if matches(each, wanted)]

    def sweep(self, sweep_name: str) -> Sweep | None:
        """Find a sweep."""
        row = self.db.row(
            "SELECT * FROM sweeps WHERE project = ? AND name = ?", self.row["id"], sweep_name
        )
        return Sweep(self.context, row) if row else None

    def sweeps(
        self, first: int | None = None, after: str | None = None, filters: str | None = None
    ) -> dict[str, Any]:
        """List sweeps, the latest first."""
        wanted = read_filters(filters)
        rows = self.db.rows(
            "SELECT * FROM sweeps WHERE project = ? ORDER BY id DESC", self.row["id"]
        )
        chosen = [row for row in rows if matches(row, wanted)]
        return page(chosen, first, after, lambda row: Sweep(self.context, row))

    def total_sweeps(self) -> int:
        """Count sweeps."""
        return int(self.db.value("SELECT COUNT(*) FROM sweeps WHERE project = ?", self.row["id"]))

    def artifact(self, name: str, enable_tracking: bool | None = None) -> Artifact | None:
        """Find an artifact by ``collection:alias``."""
        del enable_tracking
        return self.collections.artifact(name)

    def artifact_type(self, name: str) -> ArtifactType | None:
        """Find a type of artifacts."""
        return ArtifactType(self.collections, name) if name in self.collections.types() else None

    def artifact_types(self, first: int | None = None, after: str | None = None) -> dict[str, Any]:
        """List types of artifacts."""
        return page(
            self.collections.types(),
            first,
            after,
            lambda name: ArtifactType(self.collections, name),
        )

    def artifact_collection(self, name: str) -> Any:
        """Find a collection of artifacts."""
        return self.collections.find(name)

    def artifact_collections(self, **words: Any) -> dict[str, Any]:
        """List collections of artifacts."""
        return self.collections.pages(**words)

    def artifact_collection_membership(self, name: str) -> Any:
        """Find an artifact in its collection by ``collection:alias``."""
        return self.collections.membership(name)


class Query:
    """What can be asked for without changing anything."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.db

    def viewer(self) -> User:
        """Say who asks."""
        return User(self._context.entity)

    def server_info(self) -> dict[str, Any]:
        """Say what the server is, and which of what is optional it has."""
        return {
            "cli_version_info": {"max_cli_version": "99.0.0", "min_cli_version": "0.0.1"},
            "latest_local_version_info": None,
            "features": [{"name": name, "is_enabled": True} for name in _FEATURES],
        }

    def users(self, query: str | None = None) -> dict[str, Any]:
        """Find users; there is the one who asks."""
        name = self._context.entity
        return page([name] if query in {None, "", name} else [], None, None, User)

    def entity(self, name: str | None = None) -> Entity:
        """Find an entity; there is every one."""
        return Entity(name or self._context.entity)

    def organization(self, name: str | None = None) -> None:
        """Find an organization; there is none."""
        del name

    def project(self, name: str | None = None, entity_name: str | None = None) -> Project | None:
        """Find a project."""
        row = find_project(self._db, entity_name or self._context.entity, name or "uncategorized")
        return Project(self._context, row) if row else None

    def model(self, name: str | None = None, entity_name: str | None = None) -> Project | None:
        """Find a project, by its older name."""
        return self.project(name, entity_name)

    def models(
        self, entity_name: str | None = None, first: int | None = None, after: str | None = None
    ) -> dict[str, Any]:
        """List projects."""
        rows = self._db.rows(
            "SELECT * FROM projects WHERE entity = ? ORDER BY id DESC",
            entity_name or self._context.entity,
        )
        return page(rows, first, after, lambda row: Project(self._context, row))

    def artifact(self, id: str) -> Artifact | None:  # noqa: A002 - the schema's name
        """Find an artifact by its id."""
        return Artifact.by_id(self._context, id)

    def artifact_collection(self, id: str) -> Any:  # noqa: A002 - the schema's name
        """Find a collection by its id."""
        return Collections.by_id(self._context, id)

    def client_id_mapping(self, client_id: str) -> dict[str, Any] | None:
        """Find the artifact that a client made under an id of its own."""
        found = self._db.value("SELECT id FROM artifacts WHERE client_id = ?", client_id)
        return {"server_id": make_id("Artifact", found)} if found else None
