"""What a generated program is, and what is true of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Truth:
    """Whose fault it is, where, and what has to be said. All by construction."""

    #: The kind of what goes wrong; ``healthy`` if nothing does.
    deviation: str
    #: Ranks that may be named. None: nobody may be.
    ranks: tuple[int, ...] = ()
    #: Nobody can tell from outside which rank is wrong, so naming none is right, too.
    open: bool = False
    #: Ranks that must all be mentioned, where none can be told from the others.
    both: tuple[int, ...] = ()
    #: ``file:line``; one of them must be said.
    lines: tuple[str, ...] = ()
    #: Whether a line must be said: of a killed process nobody can see where it was.
    place: bool = True
    #: A pattern that the sentence must match.
    says: str = ""


@dataclass(frozen=True)
class RandomProgram:
    """A program with its files, how it is started, and its truth."""

    seed: int
    nodes: int
    each: int  # ranks per node
    launcher: str
    #: By name; ``train.py`` is the one that is started.
    files: dict[str, str]
    truth: Truth
    #: Words for what is in it, to be counted.
    features: tuple[str, ...] = field(default=())
    #: Seconds that whoever plays it lets it be silent.
    silence: float = 10.0

    @property
    def name(self) -> str:
        """Its name as a scenario and a folder."""
        return f"s{self.seed:06d}"

    @property
    def world(self) -> int:
        """How many ranks the program has."""
        return self.nodes * self.each

    def as_json(self) -> dict[str, Any]:
        """Give what is kept of the program; its files come again from the seed."""
        kept = asdict(self)
        del kept["files"]
        return kept
