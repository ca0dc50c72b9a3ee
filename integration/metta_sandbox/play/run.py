"""A run: scenarios played after, or beside, each other; one verdict, one folder of artifacts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

from metta_sandbox.errors import MachineError, SandboxError, StackError
from metta_sandbox.image.package_source import PackageSource
from metta_sandbox.interrupt import INTERRUPTED, Interrupted, interruptible, uninterrupted
from metta_sandbox.play.cleaning import clean
from metta_sandbox.play.host_inputs import provision, require_folders, require_known
from metta_sandbox.play.isolation import why_isolated
from metta_sandbox.play.options import Options, chosen, room_of
from metta_sandbox.play.parallel import ParallelPlay
from metta_sandbox.play.play import play
from metta_sandbox.play.run_record import RunRecord
from metta_sandbox.play.schedule import (
    TEMPLATE,
    Room,
    Schedule,
    dependencies,
    memory_of,
    shared_nodes,
)
from metta_sandbox.play.secrets import require_secrets, secrets_of
from metta_sandbox.play.setting import Played, Setting
from metta_sandbox.play.standing import standing_engine
from metta_sandbox.play.turn import Turn
from metta_sandbox.report.artifacts import create_run_folder, scenario_folders
from metta_sandbox.report.console import Reporter
from metta_sandbox.report.results import ScenarioResult
from metta_sandbox.scenario.abilities import Ability
from metta_sandbox.scenario.loading import Loaded, load_all
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.needs import lacking
from metta_sandbox.stack.credentials import remove_copies
from metta_sandbox.stack.engines import choose
from metta_sandbox.stack.engines.base import Engine, Sharing
from metta_sandbox.stack.lease import Owner, lease
from metta_sandbox.stack.marks import belonging_to
from metta_sandbox.stack.provision import Provision
from metta_sandbox.verdict import Verdict, exit_status


class Run:
    """Scenarios played after, or beside, each other, with all that they share.

    Made by ``opened``.

    Args:
        record: Keeps what comes of them.
        setting: What they share.
        reporter: Tells whoever watches.

    """

    def __init__(self, record: RunRecord, setting: Setting, reporter: Reporter) -> None:
        self.record = record
        self._setting = setting
        self._engine = setting.engine
        self._reporter = reporter

    def prepare(self, scenarios: Sequence[Loaded]) -> None:
        """Have the packages and images that scenarios bring along, before any is played.

        What one of several lacks is its own error, which it will tell; the others are played.

        Raises:
            SandboxError: None has what it needs; the first one's.

        """
        lacks: dict[str, SandboxError] = {}
        for one in scenarios:
            wanted = provision(one, secrets_of(one, self._setting.options.secrets))
            if wanted.takes_time and not lacking(one.scenario, self._engine):
                try:
                    self._have(wanted, one.scenario.hardware)
                except SandboxError as error:
                    lacks[one.scenario.name] = error
        if lacks and len(lacks) == len(scenarios):
            raise next(iter(lacks.values()))
        self._setting = replace(self._setting, lacks=lacks)

    def prepare_at_once(self, scenarios: Sequence[Loaded]) -> None:
        """Have what every stack is made of, which Ctrl-C can end here alone.

        Where it can't be had, each scenario will find that out, and say so, by itself.
        """
        played = (one.scenario for one in scenarios if not lacking(one.scenario, self._engine))
        for hardware in sorted({one.hardware for one in played}):
            with suppress(SandboxError):
                self._have(Provision(), hardware)

    def _have(self, wanted: Provision, hardware: str) -> None:
        with belonging_to(self.record.folder.name):
            self._engine.prepare(wanted, self._reporter.step, gpu=hardware == "gpu")

    def play(self, loaded: Loaded) -> ScenarioResult:
        """Play one scenario of the run.

        Raises:
            Interrupted: Ctrl-C has ended it; its evidence is safe, and its result kept.

        """
        with belonging_to(self.record.folder.name):
            played = play(loaded, self._setting)
        self.record.keep(played)
        if played.interrupted:
            raise Interrupted
        return played.result

    def play_in_parallel(self, scenarios: Sequence[Loaded], room: Room) -> None:
        """Play scenarios beside each other, as far as there is room for them.

        They are told in their own order, each once all before it were.

        Args:
            scenarios: What to play.
            room: What they may have.

        Raises:
            Interrupted: Ctrl-C has ended it; the evidence of all that was begun is safe.

        """
        run = self.record.folder
        names = [one.scenario.name for one in scenarios]
        places = [folder.name for folder in scenario_folders(run, names)]
        came: dict[int, Played] = {}
        shown: list[int] = []

        def begin(index: int) -> None:
            scenario = scenarios[index].scenario
            self._reporter.begin(scenario, index + 1, len(scenarios), places[index])

        def one(index: int, turn: Turn) -> Played:
            return play(scenarios[index], self._setting_of(places[index], turn))

        def show(index: int) -> None:
            shown.append(index)
            self.record.keep(came[index], places[index])

        def take(index: int, played: Played) -> None:
            came[index] = played
            while len(shown) in came:
                show(len(shown))

        weights = [memory_of(one.scenario) for one in scenarios]
        sharing, room = self._shared([one.scenario for one in scenarios], room)
        schedule = Schedule(weights, dependencies(scenarios, run), room)
        try:
            with belonging_to(run.name), self._engine.sharing(run.name, sharing):
                ParallelPlay(schedule, one, begin, take).run()
        finally:
            # Those whose turn to be told did not come, since one before them was never played.
            for index in sorted(came.keys() - set(shown)):
                show(index)

    def _shared(self, scenarios: Sequence[Scenario], room: Room) -> tuple[Sharing, Room]:
        """Say what scenarios can share, and what room there is beside that."""
        kept = room.keeping and Ability.TURNS in self._engine.has
        stacks = room.jobs + room.ahead if kept else 1
        nodes = shared_nodes(scenarios, room, stacks)
        if room.memory is not None:
            room = replace(room, memory=room.memory - nodes * stacks * TEMPLATE)
        options = self._setting.options
        source, credentials = options.source is not None, options.credentials
        # One that lacks something comes to no stack.
        played = [one for one in scenarios if one.name not in self._setting.lacks]
        reasons = (why_isolated(one, source=source, credentials=credentials) for one in played)
        return Sharing(nodes, sum(not each for each in reasons) if kept else 0, stacks), room

    def _setting_of(self, place: str, turn: Turn) -> Setting:
        return replace(
            self._setting,
            progress=partial(self._reporter.step, of=place),
            watch=partial(self._reporter.event, of=place),
            turn=turn,
            place=place,
        )


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
                _play_all(current, scenarios, options, reporter)
    except KeyboardInterrupt:
        return INTERRUPTED
    # Whoever launches a task asks for that alone; a machine that can't play it is no success.
    ci = options.ci or options.follow
    return exit_status([one.verdict for one in current.record.results], ci=ci)


def _play_all(
    current: Run, scenarios: Sequence[Loaded], options: Options, reporter: Reporter
) -> None:
    room = room_of(options, reporter.warn)
    if len(scenarios) > 1 and room.jobs + room.ahead > 1:
        current.prepare_at_once(scenarios)
        current.play_in_parallel(scenarios, room)
        return
    for number, one in enumerate(scenarios, 1):
        reporter.begin(one.scenario, number, len(scenarios))
        current.play(one)


@contextmanager
def opened(options: Options, reporter: Reporter) -> Iterator[Run]:
    """Begin a run: a folder, an engine, a lease. Whatever ends it, what came of it is written.

    Args:
        options: What the command line says. Which scenarios there are is the caller's business.
        reporter: Tells whoever watches.

    Raises:
        SandboxError: Nothing can be played; ``results.json`` is written all the same.

    """
    record = RunRecord(create_run_folder(options.artifacts), reporter)
    try:
        record.begin()
        engine = record.engine = _choose(options, reporter)
        with _staged(record, engine, options, reporter) as setting:
            yield Run(record, setting, reporter)
    except KeyboardInterrupt:
        record.interrupted = True
        raise
    except BaseException as error:
        record.problem = str(error) or type(error).__name__
        raise
    finally:
        with uninterrupted():
            record.write()


def _choose(options: Options, reporter: Reporter) -> Engine:
    """Choose the engine: the standing stack's, if that is used, or what the options say."""
    engine: Engine | None = None
    if options.standing:
        (launched,) = options.given
        engine = standing_engine(launched.scenario.sweep.name, options.words)
    if engine is None:
        engine = choose(options.engine, ci=options.ci, notice=reporter.warn)
    return engine


@contextmanager
def _staged(
    record: RunRecord, engine: Engine, options: Options, reporter: Reporter
) -> Iterator[Setting]:
    """Hold what the run's scenarios share; at the end, remove what an unfinished one left."""
    if options.untrusted and Ability.CONTAINERS not in engine.has:
        message = f"--untrusted needs {Ability.CONTAINERS}, not the engine {engine.name}"
        raise MachineError(message, "metta-sandbox doctor says what Docker lacks here")
    try:
        clean([engine], reporter.step)
    except StackError as error:
        reporter.warn(str(error))
    left_behind = False
    whose = Owner(record.folder.name, engine=engine.name)
    with lease(whose, keep=lambda: left_behind) as owner:
        whole = False
        packages = PackageSource()
        try:
            yield Setting(
                engine=engine,
                owner=owner,
                folder=record.folder,
                progress=reporter.step,
                watch=reporter.event,
                options=options,
                packages=packages,
                follow=reporter.line if options.follow else None,
            )
            whole = True
        finally:
            with uninterrupted():
                packages.close()
                remove_copies(owner.run)
            if not whole or Verdict.ERROR in {one.verdict for one in record.results}:
                with uninterrupted():
                    left_behind = not _remove(engine, owner.run, reporter)


def _remove(engine: Engine, run: str, reporter: Reporter) -> bool:
    """Remove all that a run has made; returns whether that is done."""
    try:
        engine.remove(run)
    except StackError as error:
        reporter.warn(str(error))
        return False
    return True
