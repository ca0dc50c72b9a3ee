"""Contestants side by side: set up together, run in turns, and torn down whatever happens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from benchmarks.outcome import ContestOutcome, Entry, Goal, judge
from metta_sandbox.errors import SandboxError
from metta_sandbox.interrupt import uninterrupted

Tell = Callable[[str], None]
Item = TypeVar("Item")
#: Floors are no peers: they show what nobody can go below.
Kind = Literal["ours", "peer", "floor"]


class UnableError(Exception):
    """A contestant can't do the work; says why."""


@dataclass(frozen=True)
class Sample:
    """One measurement of a contestant.

    Args:
        value: In the contest's unit.
        parts: What it is made of, or was taken from, in the same unit.

    """

    value: float
    parts: Mapping[str, float] = field(default_factory=dict)


class Contestant(ABC):
    """Somebody who can do a row's work."""

    name: str
    kind: Kind
    #: What is measured, in a few words.
    about: str

    def set_up(self) -> None:  # noqa: B027 - most have nothing to do
        """Do, once and unmeasured, what comes before the work; by default nothing.

        Raises:
            UnableError: It can't be done here.

        """

    @abstractmethod
    def run(self) -> Sample:
        """Do the work once.

        Raises:
            UnableError: It failed.

        """

    def tear_down(self) -> None:  # noqa: B027 - most have nothing to do
        """Remove everything that was made, however far ``set_up`` or ``run`` came."""


@dataclass(frozen=True)
class Contest:
    """Contestants that are compared in one table.

    Args:
        key: Its name, for ``--only`` and in what is kept; the part before a slash is its row's.
        title: Heads it.
        note: What one has to know to read it.
        contestants: In the table's order.
        goals: What ours should reach.
        rounds: How often each does the work; None: as often as the command line says.
        warm_up: Whether each does it once before, unmeasured.
        unit: Of what is measured.
        once: Names of those who do it once alone, as they take long and no goal is theirs.

    """

    key: str
    title: str
    note: str
    contestants: Sequence[Contestant]
    goals: tuple[Goal, ...] = ()
    rounds: int | None = None
    warm_up: bool = True
    unit: str = "s"
    once: frozenset[str] = frozenset()


def order(items: Sequence[Item], number: int) -> list[Item]:
    """Say who goes when in a round: each begins in turn, and every second round goes backwards.

    Args:
        items: The contestants.
        number: The round, from 0.

    """
    start = number % len(items) if items else 0
    turned = [*items[start:], *items[:start]]
    return turned if number % 2 == 0 else turned[::-1]


def hold(contest: Contest, rounds: int, tell: Tell) -> ContestOutcome:
    """Hold a contest. Who fails is listed with the reason, and does not keep others from it.

    Args:
        contest: What is compared.
        rounds: How often each does the work, unless the contest says.
        tell: Gets a line for each step.

    """
    samples: dict[str, list[Sample]] = {one.name: [] for one in contest.contestants}
    reasons: dict[str, str] = {}
    with ExitStack() as stack:
        for one in contest.contestants:
            tell(f"{contest.key}: setting up {one.name}")
            stack.callback(_tear_down, one, tell)
            with _noting(reasons, one, tell):
                one.set_up()
        warm_ups = 1 if contest.warm_up else 0
        for number in range(-warm_ups, contest.rounds or rounds):
            for one in order(contest.contestants, max(0, number)):
                if one.name in reasons or (number > 0 and one.name in contest.once):
                    continue
                with _noting(reasons, one, tell):
                    sample = one.run()
                    called = "warm-up" if number < 0 else f"round {number + 1}"
                    tell(f"{contest.key}: {called}: {one.name}: {sample.value:.3f} {contest.unit}")
                    if number >= 0:
                        samples[one.name].append(sample)
    entries = tuple(
        Entry(
            name=one.name,
            kind=one.kind,
            about=one.about,
            values=tuple(sample.value for sample in samples[one.name]),
            parts=tuple(dict(sample.parts) for sample in samples[one.name]),
            reason=reasons.get(one.name, ""),
        )
        for one in contest.contestants
    )
    return ContestOutcome(
        key=contest.key,
        title=contest.title,
        note=contest.note,
        unit=contest.unit,
        entries=entries,
        goals=tuple(judge(goal, entries) for goal in contest.goals),
    )


@contextmanager
def _noting(reasons: dict[str, str], one: Contestant, tell: Tell) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it was, the others are still measured
        expected = isinstance(error, (UnableError, SandboxError, OSError))
        said = str(error) if expected else f"{type(error).__name__}: {error}"
        reasons[one.name] = " ".join(said.split())
        tell(f"{one.name} can't: {reasons[one.name]}")


def _tear_down(one: Contestant, tell: Tell) -> None:
    with uninterrupted():
        try:
            one.tear_down()
        except Exception as error:  # noqa: BLE001 - it hides nothing that came before
            tell(f"{one.name} left something behind: {error}")
