"""What was written, read back without the server: from its data folder, also while it runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metta_sandbox.services.wandb import streams
from metta_sandbox.services.wandb.database import FILES, STATE, Database, Row


@dataclass(frozen=True)
class RunRecord:
    """A run.

    Args:
        entity: Whose it is.
        project: Of which project.
        name: Its id, as clients call it.
        display_name: The name that people see.
        state: ``pending``, ``running``, ``finished``, ``failed``, ``crashed``, ``preempting`` or
            ``preempted``.
        exit_code: How its program ended; None if it did not say.
        config: Its configuration, each value without its wrapping.
        summary: Its summary.
        tags: Its tags.
        group: Its group.
        job_type: Its type of job.
        sweep: The name of its sweep.
        stopped: Whether somebody asked it to stop.
        deleted: Whether somebody deleted it.
        number: Its row, by which the others know it.

    """

    entity: str
    project: str
    name: str
    display_name: str
    state: str
    exit_code: int | None
    config: dict[str, Any]
    summary: dict[str, Any]
    tags: tuple[str, ...]
    group: str | None
    job_type: str | None
    sweep: str | None
    stopped: bool
    deleted: bool
    number: int


@dataclass(frozen=True)
class WriteRecord:
    """Something that was written.

    Args:
        at: When, in seconds since 1970.
        operation: A GraphQL operation's name, ``file_stream`` or ``upload``.
        run: The name of the run it was written to, if it was to one.
        node: What the writer's node calls itself; empty if it does not.
        address: The writer's address.
        agent: Its user agent.
        client: Its process, where the client tells it.
        detail: What was written, in short.

    """

    at: float
    operation: str
    run: str | None
    node: str
    address: str
    agent: str
    client: str
    detail: dict[str, Any]


@dataclass(frozen=True)
class Contested:
    """A line of a run's stream that several wrote.

    Args:
        stream: ``history``, ``events``, ``summary`` or ``output``.
        line: Its number.
        bodies: What each writer's says, the earliest first.

    """

    stream: str
    line: int
    bodies: tuple[str, ...]


class Records:
    """The store of a server, to be read.

    Args:
        data: Its data folder.

    Raises:
        MachineError: There is no store.

    """

    def __init__(self, data: Path) -> None:
        self._files = data / FILES
        self._db = Database(data / STATE, read_only=True)

    def close(self) -> None:
        """Let go of the store."""
        self._db.close()

    def runs(self, sweep: str | None = None) -> list[RunRecord]:
        """Give all runs, or a sweep's, the first one first."""
        rows = self._db.rows(
            "SELECT runs.*, projects.entity, projects.name AS project_name,"
            " sweeps.name AS sweep_name FROM runs JOIN projects ON projects.id = runs.project"
            " LEFT JOIN sweeps ON sweeps.id = runs.sweep"
            " WHERE ? IS NULL OR sweeps.name = ? ORDER BY runs.id",
            *(sweep, sweep),
        )
        return [_run(row) for row in rows]

    def history(self, run: RunRecord) -> list[dict[str, Any]]:
        """Give a run's history."""
        return list(streams.parsed(streams.lines(self._db, run.number, "history")))

    def output(self, run: RunRecord) -> list[str]:
        """Give the lines of a run's console, each behind its time."""
        return streams.lines(self._db, run.number, "output")

    def files(self, run: RunRecord) -> dict[str, Path]:
        """Give the files of a run by their names; each lies under its digest."""
        rows = self._db.rows(
            "SELECT name, sha256 FROM files"
            " WHERE owner = 'run' AND owner_id = ? AND sha256 IS NOT NULL",
            run.number,
        )
        return {row["name"]: self._files / row["sha256"] for row in rows}

    def sweeps(self) -> dict[str, str]:
        """Give the states of all sweeps by their names."""
        return {row["name"]: row["state"] for row in self._db.rows("SELECT * FROM sweeps")}

    def writes(self, run: RunRecord | None = None) -> list[WriteRecord]:
        """Give all that was written, or what was to a run, in its order."""
        rows = self._db.rows(
            "SELECT writes.*, runs.name AS run_name, writers.node, writers.address, writers.agent,"
            " writers.client FROM writes"
            " JOIN writers ON writers.id = writes.writer LEFT JOIN runs ON runs.id = writes.run"
            " WHERE ? IS NULL OR writes.run = ? ORDER BY writes.id",
            *([run and run.number] * 2),
        )
        return [_write(row) for row in rows]

    def contested(self, run: RunRecord) -> list[Contested]:
        """Give the lines of a run that several wrote: in history, they wrote the same step."""
        rows = self._db.rows(
            "SELECT stream, line, body FROM lines WHERE run = ? AND stream IN ('history', 'output')"
            " ORDER BY stream, line, at",
            run.number,
        )
        found: dict[tuple[str, int], list[str]] = {}
        for row in rows:
            found.setdefault((row["stream"], row["line"]), []).append(row["body"])
        return [
            Contested(stream, line, tuple(bodies))
            for (stream, line), bodies in found.items()
            if len(bodies) > 1
        ]

    def told_by_several(self, run: RunRecord) -> dict[int, tuple[str, ...]]:
        """Give the steps of a run's history that several nodes told, and which; else addresses."""
        rows = self._db.rows(
            "SELECT lines.body, writers.node, writers.address FROM lines"
            " JOIN writers ON writers.id = lines.writer"
            " WHERE run = ? AND stream = 'history' ORDER BY lines.at",
            run.number,
        )
        told: dict[int, dict[str, None]] = {}
        for row in rows:
            for told_row in streams.parsed([row["body"]]):
                if isinstance(step := told_row.get("_step"), int):
                    told.setdefault(step, {})[row["node"] or row["address"]] = None
        return {step: tuple(who) for step, who in told.items() if len(who) > 1}

    def unknown(self) -> Sequence[str]:
        """Say what clients asked for that the stand-in does not have."""
        rows = self._db.rows("SELECT * FROM unknown ORDER BY first_at")
        return [
            f"{row['operation']}: {row['message']} ({row['agent']}, {row['count']} times)"
            for row in rows
        ]


def _run(row: Row) -> RunRecord:
    return RunRecord(
        entity=row["entity"],
        project=row["project_name"],
        name=row["name"],
        display_name=row["display_name"],
        state=row["state"],
        exit_code=row["exit_code"],
        config=streams.plain_config(row["config"]),
        summary=streams.loaded(row["summary"]),
        tags=tuple(json.loads(row["tags"])),
        group=row["run_group"],
        job_type=row["job_type"],
        sweep=row["sweep_name"],
        stopped=bool(row["stopped"]),
        deleted=bool(row["deleted"]),
        number=row["id"],
    )


def _write(row: Row) -> WriteRecord:
    return WriteRecord(
        at=row["at"],
        operation=row["operation"],
        run=row["run_name"],
        node=row["node"],
        address=row["address"],
        agent=row["agent"],
        client=row["client"],
        detail=json.loads(row["detail"]),
    )
