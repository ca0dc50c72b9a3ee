"""The five verdicts, how several make one, and the exit status they end in."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum


class Verdict(str, Enum):
    """How a check, a scenario or a whole run came out."""

    PASSED = "passed"
    FAILED = "failed"
    #: A fault could not be proven to have happened, or a check broke: never a pass.
    INCONCLUSIVE = "inconclusive"
    #: This engine or kernel lacks what the scenario needs.
    SKIPPED = "skipped"
    ERROR = "error"

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong: passed, or skipped."""
        return self in (Verdict.PASSED, Verdict.SKIPPED)

    def __str__(self) -> str:
        return self.value


_FROM_WORST = (Verdict.ERROR, Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Give the one verdict that several make together.

    A skipped one counts only when there is nothing else: skipped is what nothing at all gives, too.
    """
    seen = set(verdicts)
    return next((verdict for verdict in _FROM_WORST if verdict in seen), Verdict.SKIPPED)


def exit_status(verdicts: Iterable[Verdict], *, ci: bool) -> int:
    """Give the status that the command line ends with once scenarios were played.

    Args:
        verdicts: One for each scenario.
        ci: Whether this is a CI job (``CI=true``), where playing nothing is no success.

    Returns:
        0 if every scenario passed or was skipped, 1 if one did not, 3 if a CI job played none.

    """
    verdict = worst(verdicts)
    if verdict is Verdict.SKIPPED:
        return 3 if ci else 0
    return 0 if verdict is Verdict.PASSED else 1
