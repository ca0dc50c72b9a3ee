"""What Python processes of a job told of themselves, read from the folder that all nodes share.

The user's own code can write there, too: nothing is followed, nothing but plain files is opened,
and what is read is bounded. See ``node.agent.recorder.life`` for who writes it.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from metta_sandbox import beneath
from metta_sandbox.autopsy.seen import Frame, Recorded, RecordedLife
from metta_sandbox.node.agent.recorder.last_calls import SLOT, SLOTS, SUFFIX
from metta_sandbox.node.agent.told import FOLDER
from metta_sandbox.stack.engines.base import RUN_FOLDER

#: At most so many files of a node are read, and so many bytes of one and of all.
_FILES, _BYTES, _ALL_BYTES = 1100, 1 << 19, 1 << 25
#: At most so many files of programs are read, and so many letters of a line are kept.
_SOURCES, _LINE = 64, 160
_NAME = re.compile(r"\d{1,10}\.jsonl")
#: How the interpreter writes a stack on its own, as ``faulthandler`` does.
_FATAL = re.compile(r"Fatal Python error: (.*)")
_CURRENT = re.compile(r"(?:Current thread|Thread|Stack) .*\(most recent call first\):")
_CALL = re.compile(r'  File "(.*)", line (\d+|\?\?\?) in (.*)')
#: More threads than these are not written, the main one first of all (CPython's traceback.c).
_MOST_THREADS = 100
_WHOLE = frozenset({"exception", "recorded", "changed"})


def read_lives(run_folder: Path, host: str) -> tuple[RecordedLife, ...]:
    """Read what the processes of a node told, those that began first come first.

    Args:
        run_folder: The folder that all nodes share, as the harness calls it.
        host: The node.

    """
    found: list[RecordedLife] = []
    left = _ALL_BYTES
    folder = run_folder / FOLDER / host
    files = beneath.find(run_folder, "*.jsonl", folder)
    for file in [each for each in files if _NAME.fullmatch(each.name)][:_FILES]:
        text, changed = _read(run_folder, file, min(left, _BYTES))
        left -= len(text)
        lives = _lives(text, changed)
        if lives and lives[-1].recorded is None:
            # A number's later process has taken the earlier one's place there.
            name = f"{lives[-1].pid}{SUFFIX}"
            calls, _ = _read(run_folder, folder / name, min(left, SLOT * SLOTS))
            left -= len(calls)
            lives[-1] = lives[-1].model_copy(update={"recorded": _last_calls(calls)})
        found += lives
    sources = _Sources(run_folder)
    return tuple(sorted(map(sources.added_to, found), key=lambda one: one.started))


class _Sources:
    """Lines of programs that lie in the folder that all nodes share.

    The interpreter writes stacks without them, and one line tells a sleep from a lock.

    Args:
        run_folder: That folder, as the harness calls it.

    """

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder
        self._files: dict[PurePosixPath, list[str]] = {}

    def added_to(self, life: RecordedLife) -> RecordedLife:
        """Give a life whose stacks have their lines, where they can be read."""
        if not life.terminated:
            return life
        beside = tuple(self._frames(each) for each in life.beside)
        return life.model_copy(
            update={"terminated": self._frames(life.terminated), "beside": beside}
        )

    def _frames(self, frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
        return tuple(
            one if one.source else one.model_copy(update={"source": self._line(one)})
            for one in frames
        )

    def _line(self, frame: Frame) -> str:
        file = PurePosixPath(frame.file)
        # A container's nodes call that folder by another name.
        root = next(
            (each for each in (self._folder, RUN_FOLDER) if file.is_relative_to(each)), None
        )
        if root is None:
            return ""
        if file not in self._files and len(self._files) < _SOURCES:
            text = b""
            with suppress(OSError):
                text = beneath.read_bytes(self._folder, file.relative_to(root), most=_BYTES)
            self._files[file] = text.decode(errors="replace").splitlines()
        lines = self._files.get(file, [])
        known = 0 < frame.line <= len(lines)
        return lines[frame.line - 1].strip()[:_LINE] if known else ""


def _read(run_folder: Path, file: Path, most: int) -> tuple[str, float]:
    """Read a file's beginning, and when it was changed last; empty if it is no plain file."""
    with suppress(OSError), beneath.open_file(run_folder, file, most=None) as reader:
        changed = os.fstat(reader.fileno()).st_mtime
        return reader.read(max(0, most)).decode(errors="replace"), changed
    return "", 0.0


def _lives(text: str, changed: float) -> list[RecordedLife]:
    """Take a file apart: a number is given to another process once the first one has ended."""
    told: list[dict[str, Any]] = []
    for line in text.splitlines():
        entry = _entry(line)
        if "start" in entry:
            told.append({"started": entry.get("at"), **entry["start"]})
        elif told and entry:
            _add(told[-1], entry)
        elif told and line:
            told[-1].setdefault("printed", []).append(line)
    found = []
    for each in told:
        _add_stacks(each, changed)
        with suppress(ValidationError):
            found.append(RecordedLife.model_validate(each))
    return found


def _last_calls(text: str) -> Recorded | None:
    """Read what a process kept of its last collectives; None if it kept none."""
    found: list[tuple[int, Recorded]] = []
    for line in text.splitlines():
        with suppress(ValueError, TypeError, KeyError, RecursionError, OverflowError):
            call = json.loads(line)
            one = {"entries": [{**call, "stack": 0}], "stacks": [call["stack"]]}
            found.append((int(call["time"]), Recorded.model_validate(one)))
    found.sort(key=lambda one: one[0])
    if not found:
        return None
    return Recorded(
        partial=True,
        entries=tuple(
            one.entries[0].model_copy(update={"stack": number})
            for number, (_, one) in enumerate(found)
        ),
        stacks=tuple(one.stacks[0] for _, one in found),
    )


def _entry(line: str) -> dict[str, Any]:
    """Read a line; what is no entry is empty."""
    if line.startswith('{"at":'):
        with suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if all(isinstance(value, dict) for key, value in entry.items() if key != "at"):
                return dict(entry)
    return {}


def _add(told: dict[str, Any], entry: dict[str, Any]) -> None:
    """Add an entry to what was told of a life."""
    at = entry.pop("at")
    for what, about in entry.items():
        if what in _WHOLE:
            told[what] = about
        elif what == "end":
            told.update(about, ended=at)
        elif what == "thread":
            told.setdefault("threads", []).append({**about, "time": at})
        elif what == "reaped":
            told.setdefault("reaped", []).append({**about, "time": at})
        elif what == "group":
            told.setdefault("groups", []).append({**about, "time": at})
        elif what == "grouped":
            for group in told.get("groups", ()):
                if group.get("number") == about.get("number"):
                    group.update(about, done_time=at)


def _add_stacks(told: dict[str, Any], changed: float) -> None:
    """Add the stack that the interpreter wrote as a signal ended it."""
    threads: list[list[dict[str, Any]]] = []
    signal, current = "", None
    for line in told.pop("printed", ()):
        if match := _FATAL.match(line):
            signal = match[1]
        elif _CURRENT.match(line):
            threads.append([])
            if line.startswith("Current") and current is None:
                current = threads[-1]
        elif threads and (match := _CALL.match(line)):
            number = int(match[2]) if match[2].isdigit() else 0
            threads[-1].append({"file": match[1], "line": number, "function": match[3]})
    if not threads:
        return
    # The one that was hit is called the current one; the main one is the last. SIGTERM may hit any.
    main = threads[-1]
    frames = current if current and (signal or len(threads) >= _MOST_THREADS) else main
    if not frames:
        return
    told["fatal" if signal else "terminated"] = frames
    told["beside"] = [each for each in threads if each and each is not frames]
    told["fatal_signal"] = signal
    told.setdefault("ended", changed)
