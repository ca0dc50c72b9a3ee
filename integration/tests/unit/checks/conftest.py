"""Writes offline W&B run files, so that tests need not start W&B."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

BLOCK = 32 * 1024


def frame(records: Iterable[bytes]) -> bytes:
    """Lay records out as LevelDB's log does, behind W&B's header."""
    data = bytearray(struct.pack("<4sHB", b":W&B", 0xBEE1, 0))
    for record in records:
        rest, first = record, True
        while first or rest:
            room = BLOCK - len(data) % BLOCK
            if room < 7:
                data += b"\0" * room
                room = BLOCK
            part, rest = rest[: room - 7], rest[room - 7 :]
            kind = {(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}[
                first, not rest
            ]
            crc = zlib.crc32(part, zlib.crc32(bytes([kind])))
            data += struct.pack("<IHB", crc, len(part), kind) + part
            first = False
    return bytes(data)


def run_records(
    run_id: str,
    *,
    group: str = "basic",
    host: str = "sweep-master",
    config: Mapping[str, Any] | None = None,
    history: Iterable[Mapping[str, Any]] = (),
    summary: Mapping[str, Any] | None = None,
    finished: bool = True,
) -> list[bytes]:
    from wandb.proto import wandb_internal_pb2 as proto  # noqa: PLC0415

    opened = proto.Record()
    opened.run.run_id = opened.run.display_name = run_id
    opened.run.run_group, opened.run.host = group, host
    for key, value in {"_wandb": {}, **(config or {})}.items():
        opened.run.config.update.add(key=key, value_json=json.dumps(value))
    records = [proto.Record(num=1), opened]
    for row in history:
        record = proto.Record()
        for key, value in row.items():
            record.history.item.add(nested_key=[key], value_json=json.dumps(value))
        records.append(record)
    last = proto.Record()
    for key, value in (summary or {}).items():
        last.summary.update.add(key=key, value_json=json.dumps(value))
    records.append(last)
    if finished:
        end = proto.Record()
        end.exit.exit_code = 0
        records.append(end)
    return [record.SerializeToString() for record in records]


@pytest.fixture(scope="session")
def framed() -> Callable[[Iterable[bytes]], bytes]:
    return frame


@pytest.fixture(scope="session")
def wandb_records() -> Callable[..., list[bytes]]:
    return run_records


@pytest.fixture(scope="session")
def write_wandb() -> Callable[..., Path]:
    """Write a run into a folder of runs as W&B names them; give the file's path."""

    def write(folder: Path, run_id: str, *, stamp: str = "20261122_184202", **said: Any) -> Path:
        file = folder / f"offline-run-{stamp}-{run_id}" / f"run-{run_id}.wandb"
        file.parent.mkdir(parents=True)
        file.write_bytes(frame(run_records(run_id, **said)))
        return file

    return write
