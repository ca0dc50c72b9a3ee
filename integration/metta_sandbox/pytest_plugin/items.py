"""Scenario files as pytest sees them: a file that is collected, and a test for each scenario."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.errors import InputError, SandboxError
from metta_sandbox.play.host_inputs import require_folders
from metta_sandbox.play.run_record import as_seen
from metta_sandbox.pytest_plugin.playing import Playing
from metta_sandbox.report.results import CheckResult, ScenarioResult
from metta_sandbox.report.wording import explain
from metta_sandbox.report.workflow_commands import unmet
from metta_sandbox.safe_text import for_console
from metta_sandbox.scenario.files import read_text
from metta_sandbox.scenario.loading import Loaded, parse_file
from metta_sandbox.verdict import Verdict


class NotPassedError(SandboxError):
    """A scenario did not pass.

    Args:
        headline: Why, in a line.
        line: The line of the file that asks for what did not hold.
        told: All that is to be known of it.

    """

    def __init__(self, headline: str, line: int, told: str) -> None:
        super().__init__(headline)
        self.line = line
        self.told = told

    def __str__(self) -> str:
        return self.told


class ScenarioFileCollector(pytest.File):
    """A scenario file."""

    def collect(self) -> Iterable[ScenarioItem]:
        """Read the scenario file: one test, or one for each cell of its matrix.

        Raises:
            CollectError: It is wrong; every problem is listed with its line and column.

        """
        playing = Playing.of(self.config)
        shown = as_seen(self.path)
        try:
            file = parse_file(read_text(self.path), shown, playing.options.settings)
            require_folders(file.loaded)
        except InputError as error:
            raise self.CollectError(for_console(str(error))) from None
        playing.variables.update(file.variables)
        for loaded in file.loaded:
            yield ScenarioItem.of(self, loaded)


class ScenarioItem(pytest.Item):
    """A scenario as a test."""

    loaded: Loaded

    @classmethod
    def of(cls, parent: ScenarioFileCollector, loaded: Loaded) -> ScenarioItem:
        """Make a scenario's test, with a marker for each of its tags."""
        scenario = loaded.scenario
        item: ScenarioItem = cls.from_parent(parent, name=scenario.id)
        item.loaded = loaded
        item.extra_keyword_matches.update(scenario.tags)
        for marker in _markers(scenario.tags, item.config):
            item.add_marker(marker)
        return item

    def runtest(self) -> None:
        """Play the scenario.

        Raises:
            NotPassedError: It did not pass, nor was skipped.
            SandboxError: Nothing can be played here.

        """
        result, folder = Playing.of(self.config).play(self.loaded)
        self.user_properties.append(("sandbox_verdict", result.verdict.value))
        self.user_properties.append(("sandbox_artifacts", str(folder)))
        if result.verdict is Verdict.SKIPPED:
            pytest.skip(for_console(result.reason) or "nothing of it could be checked here")
        if result.verdict is not Verdict.PASSED:
            raise _not_passed(result, folder)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Tell what did not hold, without any of this program's own lines.

        A fault of the plugin itself keeps its traceback.
        """
        error = excinfo.value
        if not isinstance(error, SandboxError):
            return super().repr_failure(excinfo, style)
        told = excinfo.getrepr(style="value", chain=False)
        for entry in told.reprtraceback.reprentries:
            entry.lines = [for_console(line) for line in entry.lines]
        if told.reprcrash:
            told.reprcrash.message = for_console(error.message)
            told.reprcrash.path = str(self.path)
            told.reprcrash.lineno = error.line if isinstance(error, NotPassedError) else 1
        return told

    def reportinfo(self) -> tuple[Path, int, str]:
        """Say where the test stands."""
        return self.path, 0, self.name


def _not_passed(result: ScenarioResult, folder: Path) -> NotPassedError:
    bad = unmet(result)
    line, headline = 1, f"{result.verdict}: {result.reason}"
    if bad:
        line, check = bad[0]
        headline = f"{check.verdict}: {check.name}: {check.detail}"
    return NotPassedError(headline.partition("\n")[0], line, "\n".join(_told(result, bad, folder)))


def _told(
    result: ScenarioResult, bad: list[tuple[int, CheckResult]], folder: Path
) -> Iterator[str]:
    yield f"{result.name} {result.verdict}: {result.reason}"
    for line, check in bad:
        yield ""
        yield f"{result.file}:{line}: {check.verdict} {check.name}"
        for detail in explain(check).splitlines():
            yield f"    {detail}"
    yield ""
    yield f"artifacts in {folder}"


def _markers(tags: Iterable[str], config: pytest.Config) -> Iterator[str]:
    """Give the markers for tags, each of them known to pytest from here on.

    A tag that is the name of a marker with arguments (``skip``, ``timeout``) is none: pytest or
    another plugin would act on it.
    """
    for tag in tags:
        name = re.sub(r"[^\w-]+", "_", tag).strip("_")
        known: list[str] = config.getini("markers")
        if not name or any(line.startswith(f"{name}(") for line in known):
            continue
        if not any(line.partition(":")[0].strip() == name for line in known):
            config.addinivalue_line("markers", f"{name}: scenarios with the tag {tag}")
        yield name
