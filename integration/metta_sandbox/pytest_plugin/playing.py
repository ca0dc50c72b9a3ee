"""The run that a pytest session's scenarios are played in."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from metta_sandbox.errors import InputError, SandboxError
from metta_sandbox.interrupt import interruptible
from metta_sandbox.play.options import Options, in_ci
from metta_sandbox.play.run import Run, opened
from metta_sandbox.play.run_record import as_seen
from metta_sandbox.pytest_plugin import LINES, OUTPUT
from metta_sandbox.report.artifacts import scenario_folders
from metta_sandbox.report.console import Reporter
from metta_sandbox.report.results import RunResult, ScenarioResult
from metta_sandbox.report.wording import headline, seconds
from metta_sandbox.safe_text import for_console
from metta_sandbox.scenario.loading import Loaded, read_settings


class Playing:
    """Plays a session's scenarios in one run: one engine, one folder, reports at the end.

    The run begins with the first scenario that is played. A worker of pytest-xdist has its own.

    Args:
        config: The session's.

    """

    def __init__(self, config: pytest.Config) -> None:
        self.options = _options(config)
        #: The variables of all files that were read.
        self.variables: set[str] = set()
        self._config = config
        self._held = ExitStack()
        self._run: Run | None = None
        self._refusal: SandboxError | None = None

    @classmethod
    def of(cls, config: pytest.Config) -> Playing:
        """Return the session's instance, making it if there is none yet."""
        name = "metta_sandbox_playing"
        if not config.pluginmanager.has_plugin(name):
            config.pluginmanager.register(cls(config), name)
        playing = config.pluginmanager.get_plugin(name)
        assert isinstance(playing, Playing)
        return playing

    def _begun(self) -> Run:
        """Return the run, beginning it if it has not begun."""
        if self._refusal:
            raise self._refusal
        if self._run:
            return self._run
        # It makes a temporary folder that must not go with the scenario in which it is imported.
        importlib.import_module("wandb")
        try:
            self._run = self._held.enter_context(opened(self.options, _Notes(self._lines)))
        except SandboxError as error:
            self._refusal = error
            raise
        return self._run

    def play(self, loaded: Loaded) -> tuple[ScenarioResult, Path]:
        """Play a scenario; returns its result, and the folder of its artifacts as people see it.

        Raises:
            SandboxError: What the scenario brings along can't be had, or nothing can be played here
                at all; that is found out once, and told each time.
            KeyboardInterrupt: Ctrl-C has ended it, and with it the run.

        """
        run = self._begun()
        try:
            # What the session makes of warnings must not decide how a scenario comes out.
            with interruptible(), warnings.catch_warnings():
                warnings.simplefilter("default")
                run.prepare([loaded])
                result = run.play(loaded)
        except BaseException:
            # Ctrl-C, another plugin's time limit, a package that can't be had: the run says so,
            # and nothing may be left running.
            self._run = None
            self._held.__exit__(*sys.exc_info())
            raise
        names = [one.name for one in run.record.results]
        return result, as_seen(scenario_folders(run.record.folder, names)[-1])

    def pytest_collection_finish(self) -> None:
        """Refuse to play with a value for a variable that no file has, unless files were left out.

        It is told by the scenarios: a worker of pytest-xdist has no other way.
        """
        unknown = sorted(set(self.options.settings) - self.variables)
        if unknown and not self._config.getoption("lf", default=False):
            there = ", ".join(sorted(self.variables)) or "none"
            message = f"--sandbox-set {unknown[0]}: no scenario file has this variable"
            self._refusal = InputError(message, f"there are: {there}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Let a skipped scenario stand at its file, not at the line of ours that skips it."""
        report = yield
        if report.skipped and isinstance(report.longrepr, tuple) and _is_scenario(item):
            report.longrepr = (str(item.path), 1, report.longrepr[2])
        return report

    def pytest_sessionfinish(self) -> None:
        """End the run and write its reports."""
        self._held.close()
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output[OUTPUT] = self._lines

    @property
    def _lines(self) -> list[str]:
        return self._config.stash.setdefault(LINES, [])


class _Notes(Reporter):
    """Prints progress, which pytest shows with a test that fails, and keeps the rest for the end.

    Args:
        lines: Gets what is told at the session's end.

    """

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def warn(self, text: str) -> None:
        """Keep a warning for the test report."""
        super().warn(text)
        self._lines.append(for_console(f"! {text}"))

    def raw(self, text: str) -> None:
        """Keep a line meant for programs, for the test report."""
        self._lines.append(text)

    def scenario(self, result: ScenarioResult, of: str = "") -> None:
        """Leave it to the test to say how it came out."""

    def finish(self, result: RunResult, folder: Path | None) -> None:
        """Keep the final verdict and where the artifacts are."""
        on = f" on {result.engine}" if result.engine else ""
        told = f"{result.verdict.value.upper()}{on} in {seconds(result.seconds)}"
        self._lines.append(for_console(f"{told}: {headline(result)} Artifacts in {folder}"))


def _is_scenario(item: pytest.Item) -> bool:
    return isinstance(getattr(item, "loaded", None), Loaded)


def _options(config: pytest.Config) -> Options:
    source = config.getoption("--sandbox-source")
    if source and not Path(source).is_dir():
        raise pytest.UsageError(f"--sandbox-source {source}: no such folder")
    try:
        settings = read_settings(config.getoption("--sandbox-set"))
    except InputError as error:
        raise pytest.UsageError(str(error)) from None
    return Options(
        engine=config.getoption("--sandbox-engine"),
        # A test may change the working folder.
        artifacts=Path(config.getoption("--sandbox-artifacts")).absolute(),
        settings=settings,
        source=Path(source).resolve() if source else None,
        ci=in_ci(),
    )
