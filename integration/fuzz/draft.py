"""A program before something goes wrong in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from fuzz.operations import Operation
from fuzz.skeleton import Style
from fuzz.source import Spot, spots


@dataclass(frozen=True)
class Draft:
    """What is drawn already; a deviation looks for its place in it."""

    style: Style
    loop: tuple[Operation, ...]
    finals: tuple[Operation, ...]
    templates: Mapping[str, str]
    world: int
    #: Who goes wrong, and when.
    rank: int
    step: int

    @property
    def threaded(self) -> bool:
        """Whether the training is not in the main thread."""
        return self.style.fit != "main"

    def spots(self, *kinds: str, owners: Sequence[str] | None = None) -> list[Spot]:
        """All spots of these kinds, where the guilty rank comes by in a step."""
        ours = {one.mark: one for one in self.loop}
        found = [spot for text in self.templates.values() for spot in spots(text)]
        return [
            spot
            for spot in found
            if spot.kind in kinds
            and (spot.owner == "main" or spot.owner in ours)
            and (owners is None or spot.owner in owners)
            and not self._passed_by(ours.get(spot.owner), spot)
        ]

    def _passed_by(self, one: Operation | None, spot: Spot) -> bool:
        """Whether the rank never gets to a spot: those outside a subgroup leave early."""
        return (
            one is not None
            and one.kind == "subgroup"
            and self.rank not in one.members
            and spot.kind != "early"
        )

    def after(self, one: Operation) -> list[Operation]:
        """List what the rank does after an operation of the loop, to the first where all meet.

        One round of the loop is enough: every loop has an operation where all meet.
        """
        at = self.loop.index(one)
        found = []
        for later in (*self.loop[at + 1 :], *self.loop[: at + 1]):
            if later.kind == "subgroup" and self.rank not in later.members:
                continue
            found.append(later)
            if later.meets:
                break
        return found

    @property
    def history(self) -> bool:
        """Whether what came before shows who leaves the path, with two ranks alone."""
        return self.step >= 2 or self.world > 2

    def when(self, draw: Random, spot: Spot, body: Sequence[str], at: str = "==") -> list[str]:
        """Write an ``if`` for the guilty rank, and the step if there is one."""
        rank, step = self.rank, self.step
        conditions = [f"{spot.rank} == {rank}"]
        if spot.step:
            conditions = [
                f"{spot.rank} == {rank} and {spot.step} {at} {step}",
                f"{spot.step} {at} {step} and {spot.rank} == {rank}",
            ]
            if at == "==":
                conditions.append(f"({spot.rank}, {spot.step}) == ({rank}, {step})")
        return [f"if {draw.choice(conditions)}:", *("    " + line for line in body)]
