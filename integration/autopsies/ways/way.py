"""A way of going wrong (or of only looking so), and what is true of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

#: Scripts of anybody's, in plain PyTorch: one for each way.
TRAINERS = Path(__file__).parents[1] / "trainers"

Blame = Literal["odd", "odd or nobody", "majority", "nobody", "anybody"]


@dataclass(frozen=True)
class Way:
    """One script, and the truth about it, written from the script alone.

    Args:
        name: Its own; the script is called so.
        says: What a right sentence has: of each text one of the words between its bars. ``{at}``
            and ``{other}`` are places, as ``script.py:7``.
        at: A piece of the line at which the odd rank is or ends. It is in the script of that name,
            or in another file: ``training.py: loss.backward()``.
        other: A piece of the line at which the others wait, if a right sentence has it.
        never: Kinds that are wrong, and words that a right sentence does not have.
        blame: Whom a sentence may name: the odd rank; it or nobody; it, or nobody where there are
            but two ranks and so no majority; nobody; anybody, as all ranks fail alike.
        least: How many ranks there must be.
        launchers: Those that it works with; all without any.
        engines: Engines that it can happen on.
        threads: Whether it is the same in a thread other than the main one.
        lone: Whether there must be one rank a node.
        first: Whether rank 0 can be the odd one.
        steps: Whether a step is done before.
        restarts: How often torchrun starts the ranks again.
        fine: Whether nothing is wrong.

    """

    name: str
    says: tuple[str, ...] = ()
    at: str = ""
    other: str = ""
    never: tuple[str, ...] = ()
    blame: Blame = "odd"
    least: int = 2
    launchers: tuple[str, ...] = ()
    engines: tuple[str, ...] = ("process", "compose")
    threads: bool = True
    lone: bool = False
    first: bool = True
    steps: bool = True
    restarts: int = 0
    fine: bool = False

    @property
    def script(self) -> str:
        """The file to start."""
        return f"{self.name}.sh" if self.name.startswith("shell_") else f"{self.name}.py"

    @cached_property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """What a right sentence has, with places filled in: one word of each group."""
        places = {"at": self.place(self.at), "other": self.place(self.other)}
        return tuple(tuple(group.format(**places).split("|")) for group in self.says)

    def place(self, piece: str) -> str:
        """Find the one line that holds a piece of source, as ``script.py:7``.

        Raises:
            LookupError: No line does, or several do.

        """
        if not piece:
            return ""
        file, _, rest = piece.partition(": ")
        name, piece = (file, rest) if file.endswith((".py", ".sh")) else (self.script, piece)
        lines = (TRAINERS / name).read_text().splitlines()
        found = [number for number, line in enumerate(lines, 1) if piece in line]
        if len(found) != 1:
            raise LookupError(f"{name}: {piece!r} is in {len(found)} lines")
        return f"{name}:{found[0]}"

    def may_be_blamed(self, odd: int, ranks: int) -> frozenset[int | None]:
        """Say whom a right sentence may name, of how many ranks; ``None`` is nobody."""
        if self.fine or self.blame == "nobody":
            return frozenset({None})
        if self.blame == "anybody":
            return frozenset({None, *range(ranks)})
        unsure = self.blame == "odd or nobody" or (self.blame == "majority" and ranks == 2)  # noqa: PLR2004
        return frozenset({odd, None} if unsure else {odd})
