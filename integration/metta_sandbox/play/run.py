"""A run: scenarios played after, or beside, each other; one verdict, one folder of artifacts."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from metta_sandbox.errors import MachineError, SandboxError, StackError
from metta_sandbox.interrupt import INTERRUPTED, Interrupted, interruptible, uninterrupted
from metta_sandbox.play.cleaning import clean
from metta_sandbox.play.course import Played, Setting
from metta_sandbox.play.host_inputs import provision, require_folders, require_known
from metta_sandbox.play.isolation import why_isolated
from metta_sandbox.play.options import Options, chosen, room_of
from metta_sandbox.play.parallel import ParallelPlay
from metta_sandbox.play.play import play
from metta_sandbox.play.schedule import (
    TEMPLATE,
    Room,
    Schedule,
    dependencies,
    memory_of,
    shared_nodes,
)
from metta_sandbox.play.secrets import require_secrets, secrets_of
from metta_sandbox.play.standing import standing_engine
from metta_sandbox.play.turn import Turn
from metta_sandbox.report import environment, results
from metta_sandbox.report.artifacts import (
    create_run_folder,
    release,
    reserve,
    scenario_folders,
    unwritable,
)
from metta_sandbox.report.console import Reporter
from metta_sandbox.report.publishing import publish
from metta_sandbox.report.results import RunResult, ScenarioResult
from metta_sandbox.scenario.loading import load_all
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.needs import Ability, lacking
from metta_sandbox.stack.credentials import remove_copies
from metta_sandbox.stack.engines import choose
from metta_sandbox.stack.engines.base import Engine, Sharing
from metta_sandbox.stack.lease import Owner, lease
from metta_sandbox.stack.marks import belonging_to
from metta_sandbox.stack.provision import Provision
from metta_sandbox.verdict import Verdict, exit_status, worst


class Run:
    """Scenarios played after, or beside, each other: what they share, and what came of them so far.

    Made by ``opened``.

    Args:
        folder: Its artifacts.
        reporter: Tells whoever watches.

    """

    def __init__(self, folder: Path, reporter: Reporter) -> None:
        self.folder = folder
        self.began = time.perf_counter()
        self.reporter = reporter
        self.engine: Engine | None = None
        self.setting: Setting | None = None
        self.results: list[ScenarioResult] = []
        self.stacks: dict[str, Any] = {}
        self.interrupted = False
        self.problem = ""
        self.left_behind = False

    def prepare(self, scenarios: Sequence[tuple[Path, Scenario]]) -> None:
        """Have the packages and images that scenarios bring along, before any is played.

        What one of several lacks is its own error, which it will tell; the others are played.

        Raises:
            SandboxError: None has what it needs; the first one's.

        """
        assert self.engine is not None
        assert self.setting is not None
        lacks: dict[str, SandboxError] = {}
        for file, scenario in scenarios:
            wanted = provision(scenario, file, secrets_of(scenario, file, self.setting.secrets))
            if wanted.takes_time and not lacking(scenario, self.engine):
                gpu = scenario.hardware == "gpu"
                try:
                    with belonging_to(self.folder.name):
                        self.engine.prepare(wanted, self.reporter.step, gpu=gpu)
                except SandboxError as error:
                    lacks[scenario.name] = error
        if lacks and len(lacks) == len(scenarios):
            raise next(iter(lacks.values()))
        self.setting = replace(self.setting, lacks=lacks)

    def prepare_at_once(self, scenarios: Sequence[tuple[Path, Scenario]]) -> None:
        """Have what every stack is made of, which Ctrl-C can end here alone.

        Where it can't be had, each scenario will find that out, and say so, by itself.
        """
        assert self.engine is not None
        hardware = {one.hardware for _, one in scenarios if not lacking(one, self.engine)}
        for each in sorted(hardware):
            with belonging_to(self.folder.name), suppress(SandboxError):
                self.engine.prepare(Provision(), self.reporter.step, gpu=each == "gpu")

    def play(self, file: Path, scenario: Scenario) -> ScenarioResult:
        """Play one scenario of the run.

        Args:
            file: Where it was read from.
            scenario: What to play.

        Raises:
            Interrupted: Ctrl-C has ended it; its evidence is safe, and its result kept.

        """
        assert self.setting is not None
        with belonging_to(self.folder.name):
            played = play(scenario, file, self.setting)
        self._keep(scenario, played)
        if played.interrupted:
            raise Interrupted
        return played.result

    def play_in_parallel(self, scenarios: Sequence[tuple[Path, Scenario]], room: Room) -> None:
        """Play scenarios beside each other, as far as there is room for them.

        They are told in their own order, each once all before it were.

        Args:
            scenarios: What to play, each with the file that it was read from.
            room: What they may have.

        Raises:
            Interrupted: Ctrl-C has ended it; the evidence of all that was begun is safe.

        """
        names = [one.name for _, one in scenarios]
        places = [folder.name for folder in scenario_folders(self.folder, names)]
        came: dict[int, Played] = {}
        shown: list[int] = []

        def begin(index: int) -> None:
            scenario = scenarios[index][1]
            self.reporter.begin(scenario, index + 1, len(scenarios), places[index])

        def one(index: int, turn: Turn) -> Played:
            file, scenario = scenarios[index]
            return play(scenario, file, self._setting_of(places[index], turn))

        def show(index: int) -> None:
            shown.append(index)
            self._keep(scenarios[index][1], came[index], places[index])

        def take(index: int, played: Played) -> None:
            came[index] = played
            while len(shown) in came:
                show(len(shown))

        weights = [memory_of(scenario) for _, scenario in scenarios]
        sharing, room = self._shared([one for _, one in scenarios], room)
        schedule = Schedule(weights, dependencies(scenarios, self.folder), room)
        try:
            assert self.engine is not None
            shared = self.engine.sharing(self.folder.name, sharing)
            with belonging_to(self.folder.name), shared:
                ParallelPlay(schedule, one, begin, take).run()
        finally:
            # Those whose turn to be told did not come, since one before them was never played.
            for index in sorted(came.keys() - set(shown)):
                show(index)

    def _shared(self, scenarios: Sequence[Scenario], room: Room) -> tuple[Sharing, Room]:
        """Say what scenarios can share, and what room there is beside that."""
        assert self.engine is not None
        assert self.setting is not None
        kept = room.keeping and Ability.TURNS in self.engine.has
        stacks = room.jobs + room.ahead if kept else 1
        nodes = shared_nodes(scenarios, room, stacks)
        if room.memory is not None:
            room = replace(room, memory=room.memory - nodes * stacks * TEMPLATE)
        source, credentials = self.setting.source is not None, self.setting.credentials
        # One that lacks something comes to no stack.
        played = [one for one in scenarios if one.name not in self.setting.lacks]
        reasons = (why_isolated(one, source=source, credentials=credentials) for one in played)
        return Sharing(nodes, sum(not each for each in reasons) if kept else 0, stacks), room

    def _setting_of(self, place: str, turn: Turn) -> Setting:
        assert self.setting is not None
        return replace(
            self.setting,
            progress=partial(self.reporter.step, of=place),
            watch=partial(self.reporter.event, of=place),
            turn=turn,
            place=place,
        )

    def _keep(self, scenario: Scenario, played: Played, of: str = "") -> None:
        self.results.append(played.result)
        self.stacks[scenario.name] = played.stack
        self.reporter.scenario(played.result, of)

    def result(self) -> RunResult:
        """Say how it came out."""
        verdicts = [one.verdict for one in self.results]
        reason = self.problem or ("interrupted" if self.interrupted else "")
        whole = RunResult(
            run=self.folder.name,
            verdict=worst([*verdicts, Verdict.ERROR] if reason else verdicts),
            reason=reason,
            engine=self.engine.name if self.engine else "",
            seconds=time.perf_counter() - self.began,
            scenarios=tuple(self.results),
        )
        return results.hidden(whole)


def run(options: Options, reporter: Reporter) -> int:
    """Play scenarios and write what came of it, also when nothing could start.

    Returns:
        The exit status of the command line.

    Raises:
        SandboxError: Nothing could be played; ``results.json`` is written all the same.

    """
    try:
        with interruptible():
            loaded = options.given or load_all(
                options.paths, options.settings, reporter.warn, options.untrusted
            )
            scenarios = chosen(loaded, options)
            require_folders(scenarios)
            if options.untrusted:
                require_known(scenarios, options.untrusted)
            require_secrets(scenarios, options.secrets)
            with opened(options, reporter) as current:
                current.prepare(scenarios)
                _play_all(current, scenarios, options)
    except KeyboardInterrupt:
        return INTERRUPTED
    return exit_status([one.verdict for one in current.results], ci=options.ci)


def _play_all(current: Run, scenarios: Sequence[tuple[Path, Scenario]], options: Options) -> None:
    room = room_of(options, current.reporter.warn)
    if len(scenarios) > 1 and room.jobs + room.ahead > 1:
        current.prepare_at_once(scenarios)
        current.play_in_parallel(scenarios, room)
        return
    for number, (file, scenario) in enumerate(scenarios, 1):
        current.reporter.begin(scenario, number, len(scenarios))
        current.play(file, scenario)


@contextmanager
def opened(options: Options, reporter: Reporter) -> Iterator[Run]:
    """Begin a run: a folder, an engine, a lease. Whatever ends it, what came of it is written.

    Args:
        options: What the command line says. Which scenarios there are is the caller's business.
        reporter: Tells whoever watches.

    Raises:
        SandboxError: Nothing can be played; ``results.json`` is written all the same.

    """
    current = Run(create_run_folder(options.artifacts), reporter)
    try:
        _begin(current)
        with _staged(current, options):
            yield current
    except KeyboardInterrupt:
        current.interrupted = True
        raise
    except BaseException as error:
        current.problem = str(error) or type(error).__name__
        raise
    finally:
        with uninterrupted():
            _write(current, reporter)


@contextmanager
def _staged(current: Run, options: Options) -> Iterator[None]:
    """Hold what the run's scenarios share; at the end, remove what an unfinished one left."""
    reporter = current.reporter
    engine: Engine | None = None
    if options.standing:
        ((_, scenario),) = options.given
        engine = standing_engine(scenario.sweep.name, options.words)
    if engine is None:
        engine = choose(options.engine, ci=options.ci, notice=reporter.warn)
    current.engine = engine
    if options.untrusted and Ability.CONTAINERS not in engine.has:
        message = f"--untrusted needs {Ability.CONTAINERS}, not the engine {engine.name}"
        raise MachineError(message, "metta-sandbox doctor says what Docker lacks here")
    try:
        clean([engine], reporter.step)
    except StackError as error:
        reporter.warn(str(error))
    whose = Owner(current.folder.name, engine=engine.name)
    with lease(whose, keep=lambda: current.left_behind) as owner:
        current.setting = Setting(
            engine=engine,
            owner=owner,
            folder=current.folder,
            progress=reporter.step,
            watch=reporter.event,
            source=options.source.resolve() if options.source else None,
            words=options.words,
            credentials=options.credentials,
            native_stacks=options.native_stacks,
            secrets=options.secrets,
            reviewed_only=options.untrusted is not None,
        )
        whole = False
        try:
            yield
            whole = True
        finally:
            with uninterrupted():
                current.setting.packages.close()
                remove_copies(owner.run)
            if not whole or Verdict.ERROR in {one.verdict for one in current.results}:
                with uninterrupted():
                    _remove(engine, current, reporter)


def _remove(engine: Engine, current: Run, reporter: Reporter) -> None:
    try:
        engine.remove(current.folder.name)
    except StackError as error:
        current.left_behind = True
        reporter.warn(str(error))


def _begin(current: Run) -> None:
    """Find out whether there is room for artifacts before anything is started.

    Raises:
        MachineError: There is not.

    """
    try:
        reserve(current.folder)
        _describe(current)
    except OSError as error:
        raise unwritable(current.folder, error) from None


def _describe(current: Run) -> None:
    """Write what the run is on and with, as far as it is known."""
    engine = current.engine
    described = environment.describe(
        [Path(sys.argv[0]).name, *sys.argv[1:]],
        engine=engine.name if engine else "",
        engine_versions=engine.versions if engine else {},
        images=_images(current.stacks),
    )
    environment.write(described, current.folder)


def _write(current: Run, reporter: Reporter) -> None:
    """Write what must be there after every run. A full disk is told, and hides nothing."""
    result = current.result()
    try:
        release(current.folder)
        results.write(result, current.folder)
        _describe(current)
    except OSError as error:
        reporter.warn(f"{current.folder}: results could not be written: {error}")
    shown = as_seen(current.folder)
    publish(result, current.folder, shown, os.environ, reporter)
    reporter.finish(result, shown)


def _images(stacks: dict[str, Any]) -> dict[str, str]:
    images = {}
    for name, stack in stacks.items():
        if image := stack.get("image"):
            images[name] = f"{image['tag']} {image['id']}"
    return images


def as_seen(folder: Path) -> Path:
    """Write a path as people see it: from the working folder, where it is in there."""
    try:
        return folder.resolve().relative_to(Path.cwd())
    except ValueError:
        return folder


def in_ci() -> bool:
    """Tell whether this is a CI job."""
    return os.environ.get("CI", "").lower() == "true"
