"""What came of a run so far, and what is written of it when it ends."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from metta_sandbox.play.setting import Played
from metta_sandbox.report import environment, results
from metta_sandbox.report.artifacts import release, reserve, unwritable
from metta_sandbox.report.console import Reporter
from metta_sandbox.report.publishing import publish
from metta_sandbox.report.results import RunResult, ScenarioResult
from metta_sandbox.stack.engines.base import Engine
from metta_sandbox.verdict import Verdict, worst


class RunRecord:
    """What came of a run, and where it is written.

    Args:
        folder: The run's artifacts.
        reporter: Tells whoever watches.

    """

    def __init__(self, folder: Path, reporter: Reporter) -> None:
        self.folder = folder
        self.results: list[ScenarioResult] = []
        self.interrupted = False
        #: Why the run as a whole is an error, if it is one.
        self.problem = ""
        #: What it is played on; None until that is known.
        self.engine: Engine | None = None
        self._reporter = reporter
        self._began = time.perf_counter()
        self._stacks: dict[str, Any] = {}

    def begin(self) -> None:
        """Find out whether there is room for artifacts before anything is started.

        Raises:
            MachineError: There is not.

        """
        try:
            reserve(self.folder)
            self._describe()
        except OSError as error:
            raise unwritable(self.folder, error) from None

    def keep(self, played: Played, of: str = "") -> None:
        """Keep what came of a scenario, and tell it."""
        self.results.append(played.result)
        self._stacks[played.result.name] = played.stack
        self._reporter.scenario(played.result, of)

    def write(self) -> None:
        """Write what must be there after every run. A full disk is told, and hides nothing."""
        result = self._result()
        try:
            release(self.folder)
            results.write(result, self.folder)
            self._describe()
        except OSError as error:
            self._reporter.warn(f"{self.folder}: results could not be written: {error}")
        shown = as_seen(self.folder)
        publish(result, self.folder, shown, os.environ, self._reporter)
        self._reporter.finish(result, shown)

    def _result(self) -> RunResult:
        verdicts = [one.verdict for one in self.results]
        reason = self.problem or ("interrupted" if self.interrupted else "")
        whole = RunResult(
            run=self.folder.name,
            verdict=worst([*verdicts, Verdict.ERROR] if reason else verdicts),
            reason=reason,
            engine=self.engine.name if self.engine else "",
            seconds=time.perf_counter() - self._began,
            scenarios=tuple(self.results),
        )
        return results.hidden(whole)

    def _describe(self) -> None:
        """Write what the run is on and with, as far as it is known."""
        images = {
            name: f"{image['tag']} {image['id']}"
            for name, stack in self._stacks.items()
            if (image := stack.get("image"))
        }
        described = environment.describe(
            [Path(sys.argv[0]).name, *sys.argv[1:]],
            engine=self.engine.name if self.engine else "",
            engine_versions=self.engine.versions if self.engine else {},
            images=images,
        )
        environment.write(described, self.folder)


def as_seen(folder: Path) -> Path:
    """Write a path as people see it: from the working folder, where it is in there."""
    try:
        return folder.resolve().relative_to(Path.cwd())
    except ValueError:
        return folder
