"""What every kind of check says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator

from metta_sandbox.scenario.base import Misfit, NamedHosts, Part
from metta_sandbox.scenario.expect.judgement import Judgement
from metta_sandbox.scenario.search import Sweep
from metta_sandbox.scenario.workload import Workload

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import Evidence


class CheckKind(Part):
    """What a scenario may say of one kind of check.

    Documentation, schema and validation are made from these. What judges a kind lies in its file,
    too.
    """

    #: The key that names it in a file.
    key: ClassVar[str]
    #: What must hold, as the documentation says it.
    about: ClassVar[str]
    #: How it is written, as the documentation's example.
    example: ClassVar[str]
    #: The key that a plain word stands for, if it may.
    word: ClassVar[str] = ""
    #: Whether watchers beside the nodes must see for it.
    watched: ClassVar[bool] = False

    @classmethod
    def spelt(cls) -> Any:
        """Give the type of what a file says: a mapping of keys, or a word that stands for one."""
        if not cls.word:
            return cls

        def read(value: Any) -> Any:
            return value if isinstance(value, (Mapping, Part)) else {cls.word: value}

        return Annotated[cls, BeforeValidator(read, json_schema_input_type=str | cls)]

    @property
    def hosts(self) -> NamedHosts:
        """The hosts that the check names, each with the keys that lead to it."""
        return ()

    @property
    def wanted(self) -> str:
        """What must hold, in words that follow what the check is about."""
        raise NotImplementedError

    @property
    def voids(self) -> frozenset[str]:
        """The standing checks that this check takes the place of."""
        return frozenset()

    @property
    def ending(self) -> str:
        """How the sweep must end, if the check says so."""
        return ""

    @property
    def loads(self) -> str:
        """The file that a node must be asked to load while it is there, if any."""
        return ""

    @property
    def compared_with(self) -> str:
        """The scenario that must have been played before, if any."""
        return ""

    def impossible(self, _ranks: int, _workload: Workload, _sweep: Sweep) -> Iterator[Misfit]:
        """Find what nodes, trials and ranks of a scenario can't give."""
        return iter(())

    def unlikely(self) -> Iterator[str]:
        """Tell of what most likely won't be."""
        return iter(())


@dataclass(frozen=True)
class CheckPair:
    """A kind of check, and what judges it.

    Args:
        kind: What a scenario says of it, and its documentation.
        judge: Judges by the evidence whether that holds. Pure.

    """

    kind: type[CheckKind]
    judge: Callable[[Any, Evidence], Judgement]
