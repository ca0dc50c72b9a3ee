"""What a sweep's agents are told to do next. Which values to try is W&B's own engine's to say."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from graphql import GraphQLError

from metta_sandbox.services.wandb import streams
from metta_sandbox.services.wandb.database import Database, Row, now
from metta_sandbox.services.wandb.ids import MissingError, fresh_name, make_id
from metta_sandbox.services.wandb.streams import loaded
from metta_sandbox.services.wandb.sweeps import read_config, runs_of

#: How a sweep may go on from each state.
STATES = ("PENDING", "RUNNING", "PAUSED", "FINISHED", "CANCELED")
#: States of a run that the engine knows.
_KNOWN = {"pending", "running", "finished", "killed", "crashed", "failed", "preempted"}
#: Agents are answered one after the other, or two would be given the same values. Only that: while
#: the engine thinks, runs go on streaming.
_TURNS = threading.Lock()
#: How often a run is given to an agent that never said that it had it. An answer may get lost.
_ISSUES = 2


def commands(db: Database, agent: Row, running: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Say what an agent has to do.

    Args:
        db: The store.
        agent: The agent's row.
        running: The names of the runs that are running on it, each with whether it is.

    Raises:
        MissingError: Its sweep is gone.
        GraphQLError: The engine refuses the sweep's configuration.

    """
    with _TURNS:
        sweep = db.row("SELECT * FROM sweeps WHERE id = ?", agent["sweep"])
        if sweep is None:
            raise MissingError("the sweep is gone")
        names = [name for name, runs in running.items() if runs]
        db.update("agents", agent["id"], heartbeat_at=now())
        db.update("sweeps", sweep["id"], heartbeat_at=now())
        _note_received(db, agent, names)
        settings = read_config(sweep["config"])
        if sweep["state"] == "CANCELED":
            return _leave(db, agent)
        if isinstance(settings.get("early_terminate"), dict):
            _terminate_early(db, sweep, settings)
        if stops := _stops(db, agent, names):
            return stops
        if names or sweep["state"] == "PAUSED":
            return []
        if sweep["state"] == "FINISHED":
            return _leave(db, agent)
        return _next(db, sweep, agent, settings)


def _leave(db: Database, agent: Row) -> list[dict[str, Any]]:
    db.update("agents", agent["id"], state="FINISHED")
    return [{"type": "exit"}]


def _note_received(db: Database, agent: Row, names: Sequence[str]) -> None:
    """Tell runs that an agent has from those that it never heard of, or that never began."""
    for run in runs_of(db, "agent", agent["id"]):
        if run["state"] != "pending":
            continue
        if run["name"] in names:
            db.update("runs", run["id"], issued=_ISSUES)
        elif run["issued"] >= _ISSUES:
            db.update("runs", run["id"], state="failed")


def _stops(db: Database, agent: Row, names: Sequence[str]) -> list[dict[str, Any]]:
    stopped = [run["name"] for run in runs_of(db, "agent", agent["id"]) if run["stopped"]]
    return [{"type": "stop", "run_id": name} for name in stopped if name in names]


def _next(
    db: Database, sweep: Row, agent: Row, settings: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Give the agent a run: the one that it was given and has not heard of, or a new one."""
    own = runs_of(db, "agent", agent["id"])
    run = next((each for each in own if each["state"] == "pending"), None)
    if run is None:
        args = _suggest(db, sweep, settings)
        if args is None:
            db.update("sweeps", sweep["id"], state="FINISHED", updated_at=now())
            return _leave(db, agent)
        run = _make_run(db, sweep, agent, args)
    db.update("runs", run["id"], issued=run["issued"] + 1)
    if sweep["state"] == "PENDING":
        db.update("sweeps", sweep["id"], state="RUNNING", updated_at=now())
    args = {key: value for key, value in loaded(run["config"]).items() if key != "_wandb"}
    return [
        {
            "type": "run",
            "run_id": run["name"],
            "run_storage_id": make_id("Run", run["id"]),
            "program": settings.get("program", ""),
            "args": args,
        }
    ]


def _make_run(db: Database, sweep: Row, agent: Row, args: Mapping[str, Any]) -> Row:
    count = len(runs_of(db, "sweep", sweep["id"])) + 1
    number = db.insert(
        "runs",
        project=sweep["project"],
        name=fresh_name(),
        display_name=f"sandbox-sweep-{count}",
        state="pending",
        config=json.dumps(args),
        sweep=sweep["id"],
        agent=agent["id"],
        user=sweep["user"],
        created_at=now(),
        updated_at=now(),
    )
    made = db.row("SELECT * FROM runs WHERE id = ?", number)
    assert made is not None
    return made


@contextmanager
def _engine() -> Iterator[Any]:
    """Give W&B's engine, whose import takes a second: it brings scikit-learn.

    It was written for an older pydantic, and its search warns when it converges badly; nobody who
    serves a sweep can do anything about either.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sweeps  # noqa: PLC0415

        yield sweeps


def _suggest(db: Database, sweep: Row, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Ask the engine for the values of the next run; None if there is none any more."""
    rows = runs_of(db, "sweep", sweep["id"])
    cap = settings.get("run_cap")
    if isinstance(cap, int) and len(rows) >= cap:
        return None
    config = _for_engine(settings)
    try:
        with _engine() as engine:
            runs = [_seen_run(engine, db, row, with_history=False) for row in rows]
            found = engine.next_run(config, runs)
    except Exception as error:
        raise GraphQLError(f"the sweep's configuration: {error}") from error
    return None if found is None else dict(found.config)


def _for_engine(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give the configuration with the distributions that the engine wants named."""
    config = json.loads(json.dumps(settings, default=str))
    for parameter in (config.get("parameters") or {}).values():
        if isinstance(parameter, dict) and "distribution" not in parameter:
            if "values" in parameter and "probabilities" not in parameter:
                parameter["distribution"] = "categorical"
            elif "value" in parameter:
                parameter["distribution"] = "constant"
    return dict(config)


def _seen_run(engine: Any, db: Database, row: Row, *, with_history: bool) -> Any:
    """Give a run as the engine sees it."""
    state = row["state"] if row["state"] in _KNOWN else "running"
    config = {key: value for key, value in loaded(row["config"]).items() if key != "_wandb"}
    history = list(streams.parsed(streams.lines(db, row["id"], "history"))) if with_history else []
    return engine.SweepRun(
        name=row["name"],
        state=state,
        config=config,
        summaryMetrics=loaded(row["summary"]),
        sampledHistory=history,
        stopped=bool(row["stopped"]),
        shouldStop=bool(row["stopped"]),
        exitcode=row["exit_code"],
        running=state == "running",
    )


def _terminate_early(db: Database, sweep: Row, settings: Mapping[str, Any]) -> None:
    """Stop the runs that the engine gives no chance any more."""
    rows = runs_of(db, "sweep", sweep["id"])
    try:
        with _engine() as engine:
            runs = [_seen_run(engine, db, row, with_history=True) for row in rows]
            chosen = engine.stop_runs(dict(settings), runs)
    except Exception as error:
        raise GraphQLError(f"the sweep's early termination: {error}") from error
    names = {run.name for run in chosen}
    for row in rows:
        if row["name"] in names and row["state"] == "running":
            db.update("runs", row["id"], stopped=1)
