"""Reads the file that an offline W&B run leaves: ``offline-run-*/run-<id>.wandb``.

The file is LevelDB's log format (https://github.com/google/leveldb/blob/main/doc/log_format.md)
behind a header of seven bytes, and the checksum is the plain CRC-32 of zlib over the type byte and
the data. Each log record is one protobuf ``Record`` of ``wandb.proto.wandb_internal_pb2``.
W&B has no public reader for it.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metta_sandbox import beneath

BLOCK_SIZE = 32 * 1024
_CHUNK_HEADER = struct.Struct("<IHB")
_FILE_HEADER = struct.Struct("<4sHB")
_MAGIC = (b":W&B", 0xBEE1)
_VERSION = 0
#: Bytes of a file that are read.
_MOST = 1 << 30
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


class WandbFileError(Exception):
    """A file is not an offline run, or is of a format this reader does not know."""


@dataclass(frozen=True)
class OfflineRun:
    """What one offline run says.

    Attributes:
        id: The run's id; empty if the file ends before the run was opened, as the rest is then.
        host: The host name of the machine that wrote it.
        config: As it stood in the end, without W&B's own ``_wandb``.
        history: One mapping for each logged step.
        summary: As it stood in the end, without W&B's own ``_wandb``.
        exit_code: How the run was finished; None if it never was.
        started: When, in seconds since the epoch; 0 if the file does not say.
        truncated: Whether the file ends in the middle of a record, or a checksum is wrong: what
            came before it is here.

    """

    path: Path
    id: str = ""
    name: str = ""
    group: str = ""
    project: str = ""
    entity: str = ""
    host: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    started: float = 0.0
    truncated: bool = False


class _TornError(Exception):
    """The rest of the log cannot be read."""


def log_records(data: bytes) -> Iterator[bytes]:
    """Cut the file's content into log records, joining those that span blocks.

    Raises:
        WandbFileError: The header is not that of an offline run of the known format version.
        _TornError: After the last whole record, if the file goes on behind it.

    """
    if len(data) < _FILE_HEADER.size:
        raise _TornError
    ident, magic, version = _FILE_HEADER.unpack_from(data)
    if (ident, magic) != _MAGIC:
        raise WandbFileError(f"not an offline W&B run: it starts with {data[:7]!r}")
    if version != _VERSION:
        raise WandbFileError(f"format version {version}; only version {_VERSION} is known")
    parts: list[bytes] = []
    offset = _FILE_HEADER.size
    while offset < len(data):
        left = BLOCK_SIZE - offset % BLOCK_SIZE
        if left < _CHUNK_HEADER.size:  # the rest of a block that holds no chunk header is padding
            offset += left
            continue
        kind, chunk = _chunk(data, offset)
        offset += _CHUNK_HEADER.size + len(chunk)
        if (kind in (_FULL, _FIRST)) == bool(parts):
            raise _TornError
        parts.append(chunk)
        if kind in (_FULL, _LAST):
            yield b"".join(parts)
            parts.clear()
    if parts:
        raise _TornError


def _chunk(data: bytes, offset: int) -> tuple[int, bytes]:
    if offset + _CHUNK_HEADER.size > len(data):
        raise _TornError
    crc, length, kind = _CHUNK_HEADER.unpack_from(data, offset)
    start = offset + _CHUNK_HEADER.size
    chunk = data[start : start + length]
    if len(chunk) < length or kind not in (_FULL, _FIRST, _MIDDLE, _LAST):
        raise _TornError
    if crc != zlib.crc32(chunk, zlib.crc32(bytes([kind]))):
        raise _TornError
    return kind, chunk


def read_run(folder: Path, path: Path) -> OfflineRun:
    """Read one run file beneath a folder, as far as it is whole.

    Raises:
        WandbFileError: It is no such file, or of an unknown format.
        OSError: It cannot be read.

    """
    # 0.8 s that nobody should wait for who checks no runs.
    from google.protobuf.message import DecodeError  # noqa: PLC0415
    from wandb.proto import wandb_internal_pb2 as proto  # noqa: PLC0415

    found: dict[str, Any] = {"path": path, "history": []}
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    try:
        for raw in log_records(beneath.read_bytes(folder, path, most=_MOST)):
            record = proto.Record()
            record.ParseFromString(raw)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                found.update(_identity(record.run))
                _update(config, record.run.config)
                _update(summary, record.run.summary)
            elif kind == "config":
                _update(config, record.config)
            elif kind == "summary":
                _update(summary, record.summary)
            elif kind == "history":
                found["history"].append(_assign({}, record.history.item))
            elif kind == "exit":
                found["exit_code"] = record.exit.exit_code
    except _TornError:
        found["truncated"] = True
    except DecodeError as error:
        raise WandbFileError(f"a record is not W&B's: {error}") from error
    found["history"] = tuple(found["history"])
    config.pop("_wandb", None)
    summary.pop("_wandb", None)
    return OfflineRun(**found, config=config, summary=summary)


def written_by_ranks(root: Path, folder: Path) -> dict[Path, int | None]:
    """Find the run files that a trial's ranks wrote, each with its rank.

    Args:
        root: Where nothing may lead out of.
        folder: The trial's, beneath that. The rank is None where one wrote past the ``$WANDB_DIR``
            it was given.

    """
    found: dict[Path, int | None] = {}
    for file in beneath.find(root, "**/wandb/*/run-*.wandb", folder):
        own = re.fullmatch(r"rank-(\d+)", file.relative_to(folder).parts[0])
        found[file] = int(own[1]) if own else None
    return found


def _identity(run: Any) -> dict[str, Any]:
    return {
        "started": run.start_time.seconds + run.start_time.nanos / 1e9,
        "id": run.run_id,
        "name": run.display_name,
        "group": run.run_group,
        "project": run.project,
        "entity": run.entity,
        "host": run.host,
    }


def _update(target: dict[str, Any], change: Any) -> None:
    _assign(target, change.update)
    for item in change.remove:
        *parents, last = _keys(item)
        level: Any = target
        for key in parents:
            level = level.get(key, {})
        level.pop(last, None)


def _assign(target: dict[str, Any], items: Iterable[Any]) -> dict[str, Any]:
    for item in items:
        *parents, last = _keys(item)
        level = target
        for key in parents:
            inner = level.get(key)
            if not isinstance(inner, dict):
                inner = level[key] = {}
            level = inner
        level[last] = json.loads(item.value_json)
    return target


def _keys(item: Any) -> list[str]:
    return list(item.nested_key) or [item.key]
