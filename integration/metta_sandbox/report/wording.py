"""What every kind of report says in the same words."""

from __future__ import annotations

from metta_sandbox.report.results import CheckResult, LeftOut, RunResult, ScenarioResult
from metta_sandbox.verdict import Verdict
from metta_sandbox.words import many

_MINUTE = 60
#: How many files that were left out are named in a line.
_MOST_NAMED = 3


def headline(run: RunResult) -> str:
    """Say in one sentence what a run came to, and why."""
    if run.reason:
        return _sentence(f"{run.reason[:1].upper()}{run.reason[1:]}")
    if not run.scenarios:
        return "Nothing was played."
    bad = [one for one in run.scenarios if not one.verdict.is_well]
    if len(bad) == 1:
        (one,) = bad
        told = f"{one.name}: {one.reason}" if one.reason else f"{one.name} {one.verdict}"
        return _sentence("; ".join([told, *_warnings(one)]))
    if bad:
        names = ", ".join(one.name for one in bad)
        return f"{len(bad)} of {many(len(run.scenarios), 'scenario')} did not pass: {names}."
    passed = sum(one.verdict is Verdict.PASSED for one in run.scenarios)
    skipped = len(run.scenarios) - passed
    checks = sum(len(one.checks) for one in run.scenarios)
    said = [f"{many(passed, 'scenario')} passed, {many(checks, 'check')} held"]
    said += [f"{skipped} skipped"] if skipped else []
    warned = {one.name: _warnings(one) for one in run.scenarios if _warnings(one)}
    if len(warned) == 1:
        ((name, warnings),) = warned.items()
        said.append(f"{name} with a warning: {'; '.join(warnings)}")
    elif warned:
        said.append(f"with warnings: {', '.join(warned)}")
    return _sentence("; ".join(said))


def _warnings(scenario: ScenarioResult) -> list[str]:
    """List what is worth a look in a scenario."""
    return [check.warning for check in scenario.checks if check.warning]


def without(left_out: LeftOut) -> str:
    """Say in one line what is not among the artifacts; empty if all is."""
    named = [f"{one.file} ({one.why})" for one in left_out.files[:_MOST_NAMED]]
    more = left_out.count - len(named)
    return f"{', '.join(named)}{f' and {more:,} more' if more else ''}" if named else ""


def seconds(value: float | None) -> str:
    """Write a duration for reading."""
    if value is None:
        return "-"
    if value < _MINUTE:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def amount(count: float) -> str:
    """Write a number of bytes for reading."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:g} B"


def figure(value: float | None) -> str:
    """Write a number so that a column of them can be compared."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def explain(check: CheckResult) -> str:
    """Write what a check expected, what it saw, and where."""
    lines = [f"expected: {check.expected}"] if check.expected else []
    lines += [check.detail] if check.detail else []
    if places := [place for place in check.where if place not in check.detail]:
        lines.append(f"where: {', '.join(places)}")
    return "\n".join(lines)
