"""What a run streams: history, system metrics, console and summary, line by line.

A line of a stream is known by its number. Two writers of one line both stay, and the later one is
shown; the same writer's own line is written anew, as when a request is sent again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from metta_sandbox.services.wandb.database import Database, Row, now
from metta_sandbox.services.wandb.writing import note_write

#: The streams by the names of their chunks in a request.
CHUNKS = {
    "wandb-history.jsonl": "history",
    "wandb-events.jsonl": "events",
    "wandb-summary.json": "summary",
    "output.log": "output",
}


class MalformedError(ValueError):
    """A request to a stream has not the form that clients give it."""


def append(db: Database, run: Row, request: Any, writer: int) -> None:
    """Take in one request of a run's stream.

    Args:
        db: The store.
        run: The run.
        request: ``files`` with chunks of lines from an offset, ``complete`` and ``exitcode``.
        writer: Who sends it.

    Raises:
        MalformedError: It is no such request.

    """
    chunks = _chunks(request)
    told: dict[str, Any] = {
        CHUNKS[name]: [offset, len(lines)] for name, offset, lines in chunks if name in CHUNKS
    }
    with db.transaction():
        for name, offset, lines in chunks:
            if name in CHUNKS:
                _write_lines(db, run["id"], CHUNKS[name], offset, lines, writer)
        changes: dict[str, Any] = {"heartbeat_at": now()}
        if told.get("summary"):
            changes["summary"] = latest(db, run["id"], "summary") or "{}"
        if request.get("complete") is True:
            exit_code = request.get("exitcode")
            changes["exit_code"] = exit_code = exit_code if isinstance(exit_code, int) else 0
            changes["state"] = "finished" if exit_code == 0 else "failed"
            told["exit_code"] = exit_code
        elif request.get("preempting"):
            changes["state"] = "preempting"
        else:
            changes["state"] = "running"
        db.update("runs", run["id"], **changes)
        note_write(db, writer, "file_stream", run["id"], **told)


def _chunks(request: Any) -> list[tuple[str, int, list[str]]]:
    if not isinstance(request, dict):
        raise MalformedError("expected an object")
    files = request.get("files") or {}
    if not isinstance(files, dict):
        raise MalformedError("files: expected an object")
    chunks = []
    for name, chunk in files.items():
        offset = chunk.get("offset", 0) if isinstance(chunk, dict) else None
        lines = chunk.get("content") if isinstance(chunk, dict) else None
        if not isinstance(offset, int) or not isinstance(lines, list):
            raise MalformedError(f"files.{name}: expected an offset and content")
        if not all(isinstance(line, str) for line in lines):
            raise MalformedError(f"files.{name}.content: expected lines")
        chunks.append((str(name), offset, lines))
    return chunks


def _write_lines(
    db: Database, run: int, stream: str, offset: int, lines: Sequence[str], writer: int
) -> None:
    for number, line in enumerate(lines, offset):
        db.write(
            "INSERT INTO lines (run, stream, line, writer, at, body) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET body = excluded.body, at = excluded.at",
            *(run, stream, number, writer, now(), line),
        )


def lines(db: Database, run: int, stream: str) -> list[str]:
    """Read a stream's lines in their order; of several writers' the latest."""
    found = db.rows(
        "SELECT body, MAX(at) FROM lines WHERE run = ? AND stream = ? GROUP BY line ORDER BY line",
        *(run, stream),
    )
    return [row["body"] for row in found]


def latest(db: Database, run: int, stream: str) -> str | None:
    """Read a stream's last line."""
    found: str | None = db.value(
        "SELECT body FROM lines WHERE run = ? AND stream = ? ORDER BY line DESC, at DESC LIMIT 1",
        *(run, stream),
    )
    return found


def count(db: Database, run: int, stream: str) -> int:
    """Say how many lines a stream has: the number behind its last."""
    last = db.value("SELECT MAX(line) FROM lines WHERE run = ? AND stream = ?", run, stream)
    return 0 if last is None else last + 1


def parsed(found: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Read lines of JSON; what is none is left out."""
    for line in found:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def loaded(text: str | None) -> dict[str, Any]:
    """Read an object from a column; what is none is empty."""
    return next(parsed([text or "{}"]), {})


def plain_config(text: str) -> dict[str, Any]:
    """Read a configuration, of which each value is wrapped with its description."""
    return {
        key: value["value"] if isinstance(value, dict) and "value" in value else value
        for key, value in loaded(text).items()
    }


def sampled(rows: Sequence[dict[str, Any]], spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Take what a spec asks for of a history: its keys, between its steps, evenly thinned.

    Rows that lack one of the keys are left out, as W&B does.
    """
    keys = [key for key in spec.get("keys") or () if isinstance(key, str)]
    low, high = spec.get("minStep"), spec.get("maxStep")
    found = []
    for row in rows:
        step = row.get("_step", 0)
        if (low is not None and step < low) or (high is not None and step > high):
            continue
        if all(at(row, key) is not None for key in keys):
            found.append({key: at(row, key) for key in keys} if keys else row)
    return thinned(found, spec.get("samples"))


def at(row: dict[str, Any], key: str) -> Any:
    """Find a value of a row, whose name may lead into objects: ``val.loss``."""
    if key in row or "." not in key:
        return row.get(key)
    value: Any = row
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def thinned(rows: list[Any], most: Any) -> list[Any]:
    """Leave so many rows at most, evenly spread."""
    if not isinstance(most, int) or most <= 0 or len(rows) <= most:
        return rows
    return [rows[place * len(rows) // most] for place in range(most)]


def history_keys(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Say which keys a history has, how often, and of which types."""
    counts: dict[str, dict[str, int]] = {}
    last: dict[str, Any] = {}
    falls: set[str] = set()
    for row in rows:
        for key, value in row.items():
            kinds = counts.setdefault(key, {})
            kind = _kind(value)
            kinds[kind] = kinds.get(kind, 0) + 1
            before = last.get(key)
            if kind != "number" or (before is not None and value < before):
                falls.add(key)
            last[key] = value if kind == "number" else None
    keys = {
        key: {
            "typeCounts": [{"type": kind, "count": number} for kind, number in kinds.items()],
            "monotonic": key not in falls,
            "previousValue": last[key],
        }
        for key, kinds in counts.items()
    }
    steps = [row["_step"] for row in rows if isinstance(row.get("_step"), int)]
    return {"keys": keys, "sets": [], "lastStep": max(steps, default=-1)}


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, dict):
        return str(value.get("_type", "map"))
    return "string" if isinstance(value, str) else "nil" if value is None else "list"


def sendable(value: Any) -> Any:
    """Write numbers that JSON has no words for as W&B does: as texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: sendable(inner) for key, inner in value.items()}
    return [sendable(inner) for inner in value] if isinstance(value, (list, tuple)) else value
