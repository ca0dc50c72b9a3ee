"""Runs as queries see them."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from typing import Any

from metta_sandbox.services.wandb import streams
from metta_sandbox.services.wandb.context import Context, Node, page
from metta_sandbox.services.wandb.database import Database, Row
from metta_sandbox.services.wandb.files import File
from metta_sandbox.services.wandb.ids import make_id, when
from metta_sandbox.services.wandb.streams import loaded, plain_config

#: A console line as the client sends it: a mark of standard error, the time, and the text.
_CONSOLE = re.compile(r"(ERROR )?(\d{4}-\S+?T\S+) (.*)", re.DOTALL)


def find_run(db: Database, project: int, name: str) -> Row | None:
    """Find a run of a project that was not deleted."""
    return db.row(
        "SELECT * FROM runs WHERE project = ? AND name = ? AND NOT deleted", project, name
    )


def document(row: Row) -> dict[str, Any]:
    """Give a run as filters see it."""
    return {
        "row": row,
        "name": row["name"],
        "display_name": row["display_name"],
        "state": row["state"],
        "config": plain_config(row["config"]),
        "summary_metrics": loaded(row["summary"]),
        "tags": json.loads(row["tags"]),
        "group": row["run_group"],
        "job_type": row["job_type"],
        "sweep": row.get("sweep_name"),
        "host": row["host"],
        "notes": row["notes"],
        "username": row["user"],
        "created_at": when(row["created_at"]),
        "updated_at": when(row["updated_at"]),
        "heartbeat_at": when(row["heartbeat_at"]),
    }


class Run(Node):
    """A run."""

    kind = "Run"

    def __init__(self, context: Context, row: Row) -> None:
        super().__init__(context, row)
        self.project_id = row["project"]
        self.summary_metrics = row["summary"]
        self.tags = json.loads(row["tags"])
        self.group = row["run_group"]
        self.commit = row["commit_hash"]
        self.read_only = False
        self.created_at = when(row["created_at"])
        self.updated_at = when(row["updated_at"])
        self.heartbeat_at = when(row["heartbeat_at"] or row["created_at"])
        self.exitcode = row["exit_code"]
        self.failed = row["state"] in {"failed", "crashed"}
        self.stopped = self.should_stop = bool(row["stopped"])
        self.running = row["state"] == "running"
        self.agent_id = make_id("Agent", row["agent"]) if row["agent"] else None

    def project(self) -> Any:
        """Find its project."""
        from metta_sandbox.services.wandb.projects import Project  # noqa: PLC0415 - a circle

        row = self.db.row("SELECT * FROM projects WHERE id = ?", self.row["project"])
        assert row is not None
        return Project(self.context, row)

    def user(self) -> dict[str, Any]:
        """Say who made it."""
        return {"id": make_id("User", 1), "name": self.row["user"], "username": self.row["user"]}

    def sweep_name(self) -> str | None:
        """Name its sweep."""
        found: str | None = self.db.value("SELECT name FROM sweeps WHERE id = ?", self.row["sweep"])
        return found

    def wandb_config(self, keys: list[str] | None = None) -> str:
        """Give what the client keeps in the configuration for itself."""
        kept = loaded(self.row["config"]).get("_wandb")
        value = kept.get("value", kept) if isinstance(kept, dict) else {}
        inner = value if isinstance(value, dict) else {}
        return json.dumps({key: inner[key] for key in keys or inner if key in inner})

    def system_metrics(self) -> str:
        """Give the last system metrics."""
        return streams.latest(self.db, self.row["id"], "events") or "{}"

    def _lines(self, stream: str) -> list[str]:
        return streams.lines(self.db, self.row["id"], stream)

    def _history(self) -> list[dict[str, Any]]:
        return list(streams.parsed(self._lines("history")))

    def history(
        self,
        min_step: int | None = None,
        max_step: int | None = None,
        samples: int | None = None,
    ) -> list[str]:
        """Give rows of the history from one step to before another."""
        lines = self._lines("history")
        if min_step is None and max_step is None:
            return streams.thinned(lines, samples)
        spec = {"minStep": min_step, "samples": samples}
        spec["maxStep"] = None if max_step is None else max_step - 1
        rows = list(streams.parsed(lines))
        return [json.dumps(row) for row in streams.sampled(rows, spec)]

    def sampled_history(self, specs: list[str]) -> list[list[dict[str, Any]]]:
        """Give the history as each of several specs wants it."""
        rows = self._history()
        return [streams.sampled(rows, loaded(spec)) for spec in specs]

    def parquet_history(self, live_keys: list[str]) -> dict[str, Any]:
        """Say that all of the history is still to be asked for, and nothing in files."""
        del live_keys
        first = next(streams.parsed(self._lines("history")), None)
        live = [{"_step": first.get("_step", 0)}] if first else []
        return {"parquet_urls": [], "live_data": live}

    def history_keys(self) -> dict[str, Any] | None:
        """Say which keys the history has; None for none, as W&B does."""
        rows = self._history()
        return streams.history_keys(rows) if rows else None

    def history_tail(self) -> str:
        """Give the last row of the history, as a list in JSON."""
        return self._tail("history")

    def events_tail(self) -> str:
        """Give the last system metrics, as a list in JSON."""
        return self._tail("events")

    def _tail(self, stream: str) -> str:
        last = streams.latest(self.db, self.row["id"], stream)
        return json.dumps([last] if last else [])

    def history_line_count(self) -> int:
        """Count the history's rows."""
        return streams.count(self.db, self.row["id"], "history")

    def events_line_count(self) -> int:
        """Count the rows of system metrics."""
        return streams.count(self.db, self.row["id"], "events")

    def log_line_count(self) -> int:
        """Count the lines of the console."""
        return streams.count(self.db, self.row["id"], "output")

    def events(self, samples: int | None = None) -> list[str]:
        """Give rows of system metrics."""
        return streams.thinned(self._lines("events"), samples)

    def log_lines(
        self,
        first: int | None = None,
        last: int | None = None,
        after: str | None = None,
        use_improved_pagination: bool | None = None,
    ) -> dict[str, Any]:
        """Give lines of the console: from one on, or the last."""
        del use_improved_pagination
        found = list(enumerate(self._lines("output")))
        if last is not None:
            found = found[-last:] if last > 0 else []
        return page(found, first, after, _console_line)

    def files(
        self,
        names: list[str | None] | None = None,
        pattern: str | None = None,
        first: int | None = None,
        after: str | None = None,
    ) -> dict[str, Any]:
        """List its files: all, those of some names, or those like a pattern of SQL."""
        found = [
            row
            for row in self._files()
            if (not names or row["name"] in names) and (not pattern or _like(row["name"], pattern))
        ]
        listed = page(found, first, after, lambda row: File(self.context, row))
        return {**listed, "upload_headers": []}

    def file_count(self) -> int:
        """Count its files."""
        return len(self._files())

    def _files(self) -> list[Row]:
        return self.db.rows(
            "SELECT * FROM files WHERE owner = 'run' AND owner_id = ? AND sha256 IS NOT NULL"
            " ORDER BY id",
            self.row["id"],
        )

    def run_info(self) -> dict[str, Any]:
        """Say what the client told of the program."""
        kept = plain_config(self.row["config"]).get("_wandb")
        python = kept.get("python_version") if isinstance(kept, dict) else None
        return {"program": self.row["program"], "args": [], "python": python}

    def input_artifacts(self, first: int | None = None, after: str | None = None) -> dict[str, Any]:
        """List the artifacts that it used."""
        rows = self.db.rows(
            "SELECT artifacts.* FROM uses JOIN artifacts ON artifacts.id = uses.artifact"
            " WHERE uses.run = ? ORDER BY artifacts.id",
            self.row["id"],
        )
        return self._artifacts(rows, first, after)

    def output_artifacts(
        self, first: int | None = None, after: str | None = None
    ) -> dict[str, Any]:
        """List the artifacts that it made."""
        rows = self.db.rows(
            "SELECT * FROM artifacts WHERE run = ? AND state = 'COMMITTED' ORDER BY id",
            self.row["id"],
        )
        return self._artifacts(rows, first, after)

    def _artifacts(self, rows: list[Row], first: int | None, after: str | None) -> dict[str, Any]:
        from metta_sandbox.services.wandb.artifacts import Artifact  # noqa: PLC0415 - a circle

        return page(rows, first, after, lambda row: Artifact(self.context, row))


def _like(name: str, pattern: str) -> bool:
    """Match as SQL's LIKE does, of which clients use no more than ``%``."""
    literal = re.sub(r"([\[\]*?])", r"[\1]", pattern)
    return fnmatchcase(name, literal.replace("%", "*"))


def _console_line(numbered: tuple[int, str]) -> dict[str, Any]:
    number, line = numbered
    found = _CONSOLE.fullmatch(line)
    mark, moment, text = found.groups() if found else (None, None, line)
    return {
        "number": number,
        "timestamp": f"{moment.rstrip('Z')}Z" if moment else None,
        "level": "error" if mark else "info",
        "label": "",
        "line": text,
    }
