"""Values that must be somewhere, in overrides or in W&B runs, and how they are told."""

from __future__ import annotations

from metta_sandbox.scenario.expect.bounds import Level, tell
from metta_sandbox.scenario.expect.judgement import Finding, same, unlike
from metta_sandbox.scenario.values import Value

#: Stands for a value that is not there.
NOTHING = object()


def fits(wanted: Level | Value, seen: object) -> bool:
    """Tell whether a value is the one wanted, or within the bounds."""
    if isinstance(wanted, Level):
        number = isinstance(seen, (int, float)) and not isinstance(seen, bool)
        return number and wanted.hold(float(seen))  # type: ignore[arg-type]
    return seen is not NOTHING and same(wanted, seen)


def short(value: object) -> str:
    """Write a value so that it fits beside others."""
    return f"{value:g}" if isinstance(value, float) else repr(value)


def unlike_value(about: str, wanted: Level | Value, seen: object, place: str) -> Finding:
    """Tell that a value is not the one wanted."""
    shown = "nothing" if seen is NOTHING else repr(seen)
    return unlike(about, tell(wanted), shown, place)
