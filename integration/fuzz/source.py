"""Programs are written from templates with spots, where something can go wrong, and marked lines.

In a template ``@KEY|RANK|STEP`` alone on a line is a spot: it vanishes, or is filled; ``RANK`` and
``STEP`` are the expressions that hold there for the rank and the step. ``#: MARK`` at the end of a
line marks it: it is not in the program, but where the line came to stand is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_SPOT = re.compile(r"^(?P<indent> *)@(?P<key>[\w.]+)\|(?P<rank>[^|]*)\|(?P<step>[^|]*)$")
_MARK = re.compile(r"  #: (?P<mark>[\w.]+)$")


@dataclass(frozen=True)
class Spot:
    """A place of a program where something can go wrong."""

    key: str
    rank: str
    step: str

    @property
    def owner(self) -> str:
        """Whose spot it is: the operation's mark, or ``main``."""
        return self.key.rpartition(".")[0]

    @property
    def kind(self) -> str:
        """What may be put at the spot."""
        return self.key.rpartition(".")[2]


@dataclass(frozen=True)
class MarkedSource:
    """A file of a program, and where its marked lines stand, counted from 1."""

    text: str
    marks: tuple[tuple[str, int], ...]


def spots(template: str) -> Iterator[Spot]:
    """Find the spots of a template, from top to bottom."""
    for line in template.splitlines():
        if found := _SPOT.match(line):
            yield Spot(found["key"], found["rank"].strip(), found["step"].strip())


def write(template: str, fills: Mapping[str, Sequence[str]]) -> MarkedSource:
    """Fill the spots that have something to stand there, drop the others, take the marks out."""
    lines: list[str] = []
    for line in template.splitlines():
        found = _SPOT.match(line)
        if found is None:
            lines.append(line)
        else:
            lines += [found["indent"] + filled for filled in fills.get(found["key"], ())]
    marks: list[tuple[str, int]] = []
    for number, line in enumerate(lines, start=1):
        if found := _MARK.search(line):
            marks.append((found["mark"], number))
            lines[number - 1] = line[: found.start()]
    return MarkedSource("\n".join(lines).rstrip() + "\n", tuple(marks))
