"""A run: scenarios played one after another, with one verdict and one folder of artifacts."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metta_sandbox.errors import MachineError, SandboxError
from metta_sandbox.interrupt import interruptible
from metta_sandbox.play.play import Setting, play
from metta_sandbox.report import environment, results
from metta_sandbox.report.artifacts import create_run_folder
from metta_sandbox.report.console import Reporter
from metta_sandbox.report.results import RunResult, ScenarioResult
from metta_sandbox.scenario.loading import load_all
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.stack.engines import ComposeEngine, Engine, ProcessEngine, choose
from metta_sandbox.stack.lease import Owner, lease, reap
from metta_sandbox.verdict import Verdict, exit_status, worst

#: The exit status of a run that Ctrl-C ended.
INTERRUPTED = 130


@dataclass(frozen=True)
class Options:
    """What the command line says.

    Args:
        paths: Scenario files or folders.
        engine: ``auto``, ``compose`` or ``process``.
        artifacts: Where runs leave their artifacts.
        filter: Words; a scenario is played if its name or a tag holds one of them.
        seed: Goes over every scenario's own, if given.
        source: A working copy that every node sees, or None.
        ci: Whether this is a CI job.

    """

    paths: tuple[Path, ...]
    engine: str = "auto"
    artifacts: Path = Path("artifacts")
    filter: tuple[str, ...] = ()
    seed: int | None = None
    source: Path | None = None
    ci: bool = False


class _Run:
    """What has come of a run so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.began = time.perf_counter()
        self.engine: Engine | None = None
        self.results: list[ScenarioResult] = []
        self.stacks: dict[str, Any] = {}
        self.interrupted = False
        self.broke = False

    def result(self) -> RunResult:
        """Say how it came out."""
        verdicts = [one.verdict for one in self.results]
        bad = self.broke or self.interrupted
        return RunResult(
            run=self.folder.name,
            verdict=worst([*verdicts, Verdict.ERROR] if bad else verdicts),
            engine=self.engine.name if self.engine else "",
            seconds=time.perf_counter() - self.began,
            scenarios=tuple(self.results),
        )


def run(options: Options, reporter: Reporter) -> int:
    """Play scenarios and write what came of it, also when nothing could start.

    Returns:
        The exit status of the command line.

    Raises:
        SandboxError: Nothing could be played; ``results.json`` is written all the same.

    """
    with interruptible():
        scenarios = _chosen(load_all(list(options.paths)), options)
        current = _Run(create_run_folder(options.artifacts))
        try:
            _play_all(current, scenarios, options, reporter)
        except KeyboardInterrupt:
            current.interrupted = True
        except SandboxError:
            current.broke = True
            raise
        finally:
            _write(current, reporter)
    if current.interrupted:
        return INTERRUPTED
    return exit_status([one.verdict for one in current.results], ci=options.ci)


def _chosen(
    found: Sequence[tuple[Path, Scenario]], options: Options
) -> list[tuple[Path, Scenario]]:
    scenarios = [
        (path, scenario)
        for path, scenario in found
        if not options.filter
        or any(word in scenario.name or word in scenario.tags for word in options.filter)
    ]
    if options.seed is None:
        return scenarios
    return [(path, one.model_copy(update={"seed": options.seed})) for path, one in scenarios]


def _play_all(
    current: _Run, scenarios: list[tuple[Path, Scenario]], options: Options, reporter: Reporter
) -> None:
    engine = choose(options.engine, ci=options.ci, notice=reporter.warn)
    current.engine = engine
    for gone in clean(engine):
        reporter.step(f"removed what the run {gone} left behind")
    with lease(Owner(current.folder.name)) as owner:
        source = options.source.resolve() if options.source else None
        setting = Setting(engine, owner, current.folder, reporter.step, source)
        try:
            for number, (path, scenario) in enumerate(scenarios, 1):
                reporter.step(f"scenario {scenario.name} ({number} of {len(scenarios)})")
                played = play(scenario, path, setting)
                current.results.append(played.result)
                current.stacks[scenario.name] = played.stack
                reporter.scenario(played.result)
                if played.interrupted:
                    current.interrupted = True
                    return
        finally:
            if current.interrupted or len(current.results) < len(scenarios):
                engine.remove(owner.run)


def clean(engine: Engine) -> list[str]:
    """Remove what runs left behind whose owner is gone; returns their ids.

    A run may have been played on local processes though an engine answers now, so both are looked
    through.
    """

    def remove(run_id: str) -> None:
        ProcessEngine().remove(run_id)
        if isinstance(engine, ComposeEngine):
            engine.remove(run_id)

    return reap(remove)


def _write(current: _Run, reporter: Reporter) -> None:
    """Write what must be there after every run. A full disk is told, and hides nothing."""
    result = current.result()
    engine = current.engine
    try:
        described = environment.describe(
            [Path(sys.argv[0]).name, *sys.argv[1:]],
            engine=result.engine,
            engine_versions=engine.versions if engine else {},
            images=_images(current.stacks),
        )
        environment.write(described, current.folder)
        results.write(result, current.folder)
    except (OSError, MachineError) as error:
        reporter.warn(f"{current.folder}: results could not be written: {error}")
    reporter.finish(result, _shown(current.folder))


def _images(stacks: dict[str, Any]) -> dict[str, str]:
    images = {}
    for name, stack in stacks.items():
        if image := stack.get("image"):
            images[name] = f"{image['tag']} {image['id']}"
    return images


def _shown(folder: Path) -> Path:
    try:
        return folder.resolve().relative_to(Path.cwd())
    except ValueError:
        return folder


def in_ci() -> bool:
    """Tell whether this is a CI job."""
    return os.environ.get("CI", "").lower() == "true"
