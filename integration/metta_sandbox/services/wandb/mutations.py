"""What changes something: runs, their files, sweeps and agents. Artifacts stand beside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from graphql import GraphQLError

from metta_sandbox.services.wandb import streams
from metta_sandbox.services.wandb.artifact_mutations import ArtifactMutations
from metta_sandbox.services.wandb.blobs import register
from metta_sandbox.services.wandb.context import Context
from metta_sandbox.services.wandb.database import Row, now
from metta_sandbox.services.wandb.files import File
from metta_sandbox.services.wandb.filters import matches, read_filters
from metta_sandbox.services.wandb.ids import (
    MissingError,
    checked_name,
    checked_path,
    fresh_name,
    make_id,
    read_id,
)
from metta_sandbox.services.wandb.projects import Project, ensure_project, find_project
from metta_sandbox.services.wandb.runs import Run, document, find_run
from metta_sandbox.services.wandb.scheduling import STATES, commands
from metta_sandbox.services.wandb.sweeps import Agent, Sweep, read_config

#: Columns of a run by the names that clients give them.
_RUN_COLUMNS = {
    "group_name": "run_group",
    "description": "description",
    "display_name": "display_name",
    "notes": "notes",
    "config": "config",
    "commit": "commit_hash",
    "host": "host",
    "job_program": "program",
    "job_repo": "repo",
    "job_type": "job_type",
    "summary_metrics": "summary",
}
_PROJECT_COLUMNS = ("description", "access", "views", "repo")
#: From where to where the state of a run may be changed.
_TRANSITIONS = {
    "pending": {"running", "failed", "crashed", "preempted", "preempting"},
    "failed": {"pending", "running"},
}


class Mutation(ArtifactMutations):
    """What changes something."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._context = context
        self._db = context.db

    def upsert_model(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Make or change a project."""
        with self._db.transaction():
            row, inserted = ensure_project(
                self._db,
                given.get("entity_name") or self._context.entity,
                given.get("name") or "uncategorized",
            )
            changes = {key: given[key] for key in _PROJECT_COLUMNS if given.get(key) is not None}
            self._db.update("projects", row["id"], **changes)
            self._context.note(project=row["name"])
        project = Project(self._context, {**row, **changes})
        return {"project": project, "model": project, "inserted": inserted}

    def upsert_bucket(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Make or change a run."""
        changes = _run_changes(given)
        with self._db.transaction():
            run = self._named_run(given)
            inserted = run is None
            if run is None:
                run = self._new_run(given)
                changes.setdefault("state", "running")
            elif given.get("name") and "state" not in changes:
                # A client that begins, or goes on, says its name. One that only changes what is
                # written of a run says its id.
                changes |= {"state": "running", "stopped": 0, "heartbeat_at": now()}
            if given.get("sweep"):
                changes["sweep"] = self._sweep_number(run["project"], given["sweep"])
            self._db.update("runs", run["id"], **changes, updated_at=now())
            self._context.note(run["id"], columns=sorted(changes), inserted=inserted)
        return {"bucket": self._run(run["id"]), "inserted": inserted}

    def _named_run(self, given: Mapping[str, Any]) -> Row | None:
        """Find the run that is meant, by its id or its name."""
        if given.get("id"):
            return self._run_row(given["id"])
        project, _ = ensure_project(
            self._db,
            given.get("entity_name") or self._context.entity,
            given.get("model_name") or "uncategorized",
        )
        return find_run(self._db, project["id"], given["name"]) if given.get("name") else None

    def _new_run(self, given: Mapping[str, Any]) -> Row:
        project, _ = ensure_project(
            self._db,
            given.get("entity_name") or self._context.entity,
            given.get("model_name") or "uncategorized",
        )
        count = self._db.value("SELECT COUNT(*) FROM runs WHERE project = ?", project["id"])
        number = self._db.insert(
            "runs",
            project=project["id"],
            name=checked_name(given.get("name") or fresh_name(), "run"),
            display_name=f"sandbox-run-{count + 1}",
            user=self._context.entity,
            created_at=now(),
            updated_at=now(),
            heartbeat_at=now(),
        )
        return {"id": number, "project": project["id"]}

    def _sweep_number(self, project: int, name: str) -> int:
        found = self._db.value(
            "SELECT id FROM sweeps WHERE project = ? AND name = ?", project, name
        )
        if found is None:
            raise MissingError(f"no sweep {name!r} in this project")
        return int(found)

    def _run_row(self, text: str) -> Row:
        row = self._db.row("SELECT * FROM runs WHERE id = ? AND NOT deleted", read_id("Run", text))
        if row is None:
            raise MissingError("no such run")
        return row

    def _run(self, number: int) -> Run:
        row = self._db.row("SELECT * FROM runs WHERE id = ?", number)
        assert row is not None
        return Run(self._context, row)

    def _run_of(self, given: Mapping[str, Any]) -> Row:
        entity = given.get("entity_name") or self._context.entity
        project = find_project(self._db, entity, given.get("project_name") or "uncategorized")
        run = project and find_run(self._db, project["id"], given["run_name"])
        if not run:
            raise MissingError(f"no run {given['run_name']!r}")
        return run

    def delete_run(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Delete a run. What it wrote stays in the store, and out of every answer.

        To delete it again is no error: the first answer may have been lost.
        """
        number = read_id("Run", given["id"])
        if self._db.row("SELECT id FROM runs WHERE id = ?", number) is None:
            raise MissingError("no such run")
        with self._db.transaction():
            self._db.update("runs", number, deleted=1, updated_at=now())
            if given.get("delete_artifacts"):
                self._db.write("UPDATE artifacts SET state = 'DELETED' WHERE run = ?", number)
            self._context.note(number)
        return {"success": True}

    def stop_run(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Ask a run to stop: its client, or its agent, hears it with the next answer."""
        run = self._run_row(given["id"])
        with self._db.transaction():
            self._db.update("runs", run["id"], stopped=1)
            self._context.note(run["id"])
        return {"success": True}

    def update_run_state(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Change a run's state, where that makes sense."""
        run, state = self._run_row(given["id"]), given["state"].lower()
        if run["state"] not in _TRANSITIONS.get(state, ()):
            raise GraphQLError(f"invalid state transition: from {run['state']} to {state}")
        with self._db.transaction():
            self._db.update("runs", run["id"], state=state, updated_at=now())
            self._context.note(run["id"], state=state)
        return {"success": True}

    def rewind_run(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Forget a run's history behind a step."""
        run = self._run_of(given)
        if given["metric_name"] != "_step":
            raise GraphQLError("the stand-in rewinds to a _step alone")
        with self._db.transaction():
            lines = streams.lines(self._db, run["id"], "history")
            rows = list(streams.parsed(lines))
            kept = [row for row in rows if row.get("_step", 0) <= given["metric_value"]]
            self._db.write(
                "DELETE FROM lines WHERE run = ? AND stream = 'history' AND line >= ?",
                *(run["id"], len(kept)),
            )
            self._db.update("runs", run["id"], state="running", updated_at=now())
            self._context.note(run["id"], lines=[len(lines), len(kept)])
        return {"rewound_run": self._run(run["id"])}

    def create_run_files(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Say where files of a run are sent."""
        run = self._run_of(given)
        names = [checked_path(name) for name in given["files"]]
        with self._db.transaction():
            numbers = [register(self._db, "run", run["id"], name, None) for name in names]
            self._context.note(run["id"], files=names)
        rows = [self._db.row("SELECT * FROM files WHERE id = ?", number) for number in numbers]
        return {
            "run_id": make_id("Run", run["id"]),
            "upload_headers": [],
            "files": [File(self._context, row) for row in rows if row],
        }

    def mark_run_files_uploaded(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Hear that files have been sent, which the stand-in knows."""
        self._run_of(given)
        return {"success": True}

    def delete_files(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Delete files of runs."""
        numbers = [read_id("File", each) for each in given["files"]]
        with self._db.transaction():
            for number in numbers:
                row = self._db.row("SELECT * FROM files WHERE id = ? AND owner = 'run'", number)
                if row is None:
                    raise MissingError("no such file of a run")
                self._db.write("DELETE FROM files WHERE id = ?", number)
                self._context.note(row["owner_id"], file=row["name"])
        return {"success": True}

    def notify_scriptable_run_alert(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Keep an alert. Nobody is told."""
        run = self._run_of(given)
        told = {key: given[key] for key in ("title", "text", "severity")}
        with self._db.transaction():
            self._db.insert("alerts", run=run["id"], at=now(), **told)
            self._context.note(run["id"])
        return {"success": True}

    def upsert_sweep(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Make or change a sweep; start, pause, stop or cancel it."""
        config, state = given.get("config"), given.get("state")
        if config is not None:
            _require_config(config)
        if state is not None and state not in STATES:
            raise GraphQLError(f"state: expected one of {', '.join(STATES)}")
        changes = {
            key: given[key]
            for key in ("config", "description", "display_name", "controller", "scheduler", "state")
            if given.get(key) is not None
        }
        with self._db.transaction():
            row = self._sweep_row(given)
            self._db.update("sweeps", row["id"], **changes, updated_at=now())
            self._take_prior_runs(row, given.get("prior_runs_filters"))
            self._context.note(sweep=row["name"], **changes)
        sweep = self._db.row("SELECT * FROM sweeps WHERE id = ?", row["id"])
        assert sweep is not None
        return {"sweep": Sweep(self._context, sweep), "config_validation_warnings": []}

    def _sweep_row(self, given: Mapping[str, Any]) -> Row:
        """Find the sweep that is meant, or make it."""
        if given.get("id"):
            row = self._db.row("SELECT * FROM sweeps WHERE id = ?", read_id("Sweep", given["id"]))
            if row is None:
                raise MissingError("no such sweep")
            return row
        if not given.get("config"):
            raise GraphQLError("a sweep needs a configuration")
        project, _ = ensure_project(
            self._db,
            given.get("entity_name") or self._context.entity,
            given.get("project_name") or "uncategorized",
        )
        name = fresh_name()
        number = self._db.insert(
            "sweeps",
            project=project["id"],
            name=name,
            config=given["config"],
            user=self._context.entity,
            created_at=now(),
            updated_at=now(),
        )
        return {"id": number, "name": name, "project": project["id"]}

    def _take_prior_runs(self, sweep: Row, filters: str | None) -> None:
        """Make runs of the project the sweep's, so that its engine learns from them."""
        if not filters or not (wanted := read_filters(filters)):
            return
        rows = self._db.rows(
            "SELECT * FROM runs WHERE project = ? AND NOT deleted", sweep["project"]
        )
        for row in rows:
            if matches(document(row), wanted):
                self._db.update("runs", row["id"], sweep=sweep["id"])

    def create_agent(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Take in an agent of a sweep."""
        entity = given.get("entity_name") or self._context.entity
        project = find_project(self._db, entity, given.get("project_name") or "uncategorized")
        if project is None:
            raise MissingError("no such project")
        with self._db.transaction():
            number = self._db.insert(
                "agents",
                sweep=self._sweep_number(project["id"], given["sweep"]),
                host=given["host"],
                writer=self._context.writer,
                created_at=now(),
                heartbeat_at=now(),
            )
            self._context.note(agent=number, sweep=given["sweep"])
        return {"agent": self._agent(number)}

    def agent_heartbeat(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Tell an agent what to do next."""
        agent = self._agent(read_id("Agent", given["id"]))
        try:
            running = json.loads(given.get("run_state") or "{}")
        except (ValueError, RecursionError) as error:
            raise GraphQLError(f"runState: {error}") from None
        told = commands(self._db, agent.row, running if isinstance(running, dict) else {})
        if told:
            self._context.note(agent=agent.row["id"], commands=told)
        return {"agent": agent, "commands": json.dumps(told)}

    def _agent(self, number: int) -> Agent:
        row = self._db.row("SELECT * FROM agents WHERE id = ?", number)
        if row is None:
            raise MissingError("no such agent")
        return Agent(self._context, row)


def _run_changes(given: Mapping[str, Any]) -> dict[str, Any]:
    """Say which columns of a run a client wants changed.

    Raises:
        GraphQLError: A document in it is no object in JSON.

    """
    changes = {
        column: given[key] for key, column in _RUN_COLUMNS.items() if given.get(key) is not None
    }
    for column in ("config", "summary"):
        if column in changes and next(streams.parsed([changes[column]]), None) is None:
            raise GraphQLError(f"{column}: expected an object in JSON")
    if given.get("tags") is not None:
        changes["tags"] = json.dumps(list(dict.fromkeys(given["tags"])))
    if given.get("state"):
        changes["state"] = given["state"].lower()
    return changes


def _require_config(config: str) -> None:
    """Refuse what is no sweep's configuration.

    Raises:
        GraphQLError: It is none.

    """
    settings = read_config(config)
    if settings.get("method") not in {"grid", "random", "bayes", "custom"}:
        raise GraphQLError("method: expected grid, random, bayes or custom")
    if not isinstance(settings.get("parameters"), dict):
        raise GraphQLError("parameters: expected a mapping")
    if settings["method"] == "bayes" and not isinstance(settings.get("metric"), dict):
        raise GraphQLError("bayes: expected a metric")
