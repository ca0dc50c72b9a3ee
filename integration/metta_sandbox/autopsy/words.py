"""What a trainer's log says of its end: the last exception, and where it came from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from metta_sandbox.stack.ends import last_words

#: How much of a log's end is read, in bytes.
_READ = 1 << 18
_HEAD = "Traceback (most recent call last):"
_AT = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>.+)$')
_LAST = re.compile(r"^(?P<kind>[A-Za-z_][\w.]*)(: (?P<message>.*))?$")
#: How much of what an exception says is told.
_LONGEST = 200
#: torchrun and the warm launcher prefix what ranks say: ``[rank1]: ``; PyTorch does so once more
#: for each process group that there was.
_PREFIX = re.compile(r"^(?:\[rank\d+\]:\s?)+")
#: Decorators of ``torch.distributed``, which say nothing.
WRAPPERS = frozenset({"wrapper", "inner"})
#: Files that are nobody's own code: installed, frozen, or of the sandbox inside of a rank.
LIBRARY = re.compile(
    r"/(site|dist)-packages/|/lib/python3\.\d+/|^<|^frozen|\.pyz/|metta_sandbox/node/(agent|launchers)/"
)


@dataclass(frozen=True)
class Exc:
    """An exception as a traceback told it.

    Attributes:
        kind: Its class, such as ``ValueError``; empty for last words that are no traceback.
        message: What it says.
        place: The innermost line of the program's own code.
        function: The function there.
        call: What it had called there, if that was a library's function.
        calls: Names of all functions on the way, the innermost first.

    """

    kind: str
    message: str = ""
    place: str = ""
    function: str = ""
    call: str = ""
    calls: tuple[str, ...] = ()

    def __str__(self) -> str:
        cut = len(self.message) > _LONGEST
        message = f"{self.message[:_LONGEST]}…" if cut else self.message
        return ": ".join(part for part in (self.kind, message) if part)


def last_error(path: Path) -> Exc | None:
    """Read the last traceback of a log, or else its last words; None if there is neither."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _READ))
            text = file.read().decode(errors="replace")
    except OSError:
        return None
    found = parse(text)
    if found is None and (said := last_words(text.splitlines())):
        return Exc("", said)
    return found


def parse(text: str) -> Exc | None:
    """Find the first exception of the last uninterrupted traceback that a text holds.

    Of exceptions that were raised while another was handled the last one ended the program.
    """
    lines = [_PREFIX.sub("", line) for line in text.splitlines()]
    starts = [number for number, line in enumerate(lines) if line.strip() == _HEAD]
    for start in reversed(starts):
        found = _read(lines[start + 1 :])
        if found is not None:
            return found
    return None


def _read(lines: list[str]) -> Exc | None:
    frames: list[re.Match[str]] = []
    for line in lines:
        if match := _AT.match(line):
            frames.append(match)
        elif line and not line.startswith((" ", "\t")):
            last = _LAST.match(line)
            if last is None:
                return None
            return _exception(last, frames)
    return None


def _exception(last: re.Match[str], frames: list[re.Match[str]]) -> Exc:
    functions = tuple(one["function"] for one in reversed(frames))
    kind, message = last["kind"], (last["message"] or "").strip()
    for number, one in enumerate(reversed(frames)):
        if not LIBRARY.search(one["file"]):
            inner = [name for name in functions[:number] if name not in WRAPPERS]
            return Exc(
                kind,
                message,
                place=f"{one['file'].rpartition('/')[2]}:{one['line']}",
                function=one["function"],
                call=inner[-1] if inner else "",
                calls=functions,
            )
    return Exc(kind, message, calls=functions)
