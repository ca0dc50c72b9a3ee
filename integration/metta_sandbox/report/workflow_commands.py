"""GitHub's annotations: what did not hold, at the scenario file's line that asks for it.

The commands and how they are escaped:
https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from metta_sandbox.report.results import CheckResult, RunResult, ScenarioResult
from metta_sandbox.report.wording import explain
from metta_sandbox.safe_text import for_terminal
from metta_sandbox.scenario.tree import Document, UnreadableError, read

#: An item of one of the scenario's lists.
_ITEM = re.compile(r"(\w+)\[(\d+)\]")
#: GitHub shows that many errors of a step.
_MOST = 10


def annotate(run: RunResult, workspace: Path) -> list[str]:
    """Write a run's workflow commands, one for each thing that did not hold.

    Args:
        run: What it came to.
        workspace: The folder that GitHub's paths start from.

    """
    found = [line for scenario in run.scenarios for line in _of_scenario(scenario, workspace)]
    if run.reason:
        found.insert(0, _command(run.reason, title=f"run {run.verdict}"))
    return found[:_MOST]


def unmet(scenario: ScenarioResult) -> list[tuple[int, CheckResult]]:
    """List a scenario's checks that did not hold, each with the line of its file that asks for it.

    Lines count from 1, which is also where what always has to hold is put.
    """
    document = _read(Path(scenario.file))
    return [
        (_line(document, check), check) for check in scenario.checks if not check.verdict.is_well
    ]


def _of_scenario(scenario: ScenarioResult, workspace: Path) -> Iterator[str]:
    if scenario.verdict.is_well:
        return
    file = Path(scenario.file)
    place = _from(workspace, file) if file.is_file() else None
    bad = unmet(scenario)
    for line, check in bad:
        title = f"{scenario.name}: {check.name} ({check.verdict})"
        yield _command(explain(check) or check.verdict.value, file=place, line=line, title=title)
    if not bad:
        title = f"{scenario.name}: {scenario.verdict}"
        yield _command(scenario.reason or title, file=place, line=1, title=title)


def _line(document: Document | None, check: CheckResult) -> int:
    """Find the line of what asks for a check; 1 for what always has to hold."""
    asked = _ITEM.fullmatch(check.asked_by)
    path = (asked[1], int(asked[2])) if asked else ()
    if document is None or not path or not document.has(path):
        return 1
    return document.locate(path).line


def _read(file: Path) -> Document | None:
    try:
        return read(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, UnreadableError):  # changed or gone since it was played
        return None


def _from(workspace: Path, file: Path) -> str:
    try:
        return file.resolve().relative_to(workspace.resolve()).as_posix()
    except ValueError:
        return file.as_posix()


def _command(message: str, *, title: str, file: str | None = None, line: int = 1) -> str:
    properties = {"title": title}
    if file is not None:
        properties = {"file": file, "line": str(line), **properties}
    told = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::error {told}::{_data(message)}"


def _data(text: str) -> str:
    return for_terminal(text).replace("%", "%25").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
