from __future__ import annotations

import json
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from metta_sandbox.errors import MachineError, StackError
from metta_sandbox.play import ending
from metta_sandbox.play import play as module
from metta_sandbox.play import run as running
from metta_sandbox.play.options import Options
from metta_sandbox.play.play import play
from metta_sandbox.play.setting import Played, Setting
from metta_sandbox.report import results
from metta_sandbox.report.artifacts import create_run_folder
from metta_sandbox.report.console import Reporter
from metta_sandbox.report.results import CheckResult
from metta_sandbox.scenario.abilities import Ability
from metta_sandbox.scenario.loading import Loaded, load, parse
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.untrusted import Untrusted
from metta_sandbox.stack.engines import base
from metta_sandbox.stack.engines.base import StackPlan
from metta_sandbox.stack.lease import Owner
from metta_sandbox.verdict import Verdict

FILE = Path("scenarios/basic.yaml")


class Stack:
    """A stack that breaks where it is told to."""

    python = "python3"

    def __init__(self, log: list[str], run_folder: Path, **breaks: BaseException) -> None:
        self.log, self.run_folder, self.breaks = log, run_folder, breaks

    def _do(self, what: str) -> Any:
        self.log.append(what)
        if what in self.breaks:
            raise self.breaks[what]
        return {}

    def up(self, _: object) -> None:
        self._do("up")

    def collect(self) -> None:
        self._do("collect")

    def down(self) -> None:
        self._do("down")

    def describe(self) -> dict[str, Any]:
        return {}


class Engine:
    name = "broken"
    has = frozenset(Ability)

    def __init__(self, **breaks: BaseException) -> None:
        self.log: list[str] = []
        self.versions: dict[str, str] = {}
        self.breaks = breaks

    def lease(self, plan: StackPlan, *_: object) -> Stack:
        return Stack(self.log, plan.run_folder, **self.breaks)

    def give_back(self, stack: Stack, *, clean: bool) -> None:
        assert not clean
        stack.down()

    def made(self) -> dict[str, object]:
        return {}

    def remove(self, run: str) -> None:
        self.log.append(f"remove {run}")


def played(tmp_path: Path, engine: Engine, scenario: Scenario | None = None) -> Played:
    def ignore(_: object) -> None:
        """Nobody watches."""

    # It has what a play calls, and no more.
    stand_in = cast(base.Engine, engine)
    setting = Setting(stand_in, Owner("run"), create_run_folder(tmp_path), ignore, ignore)
    return play(Loaded(scenario or load(FILE), FILE), setting)


def test_what_came_first_is_the_reason_and_the_stack_goes_back_all_the_same(
    tmp_path: Path,
) -> None:
    engine = Engine(
        up=StackError("no luck"), collect=OSError("no log"), down=StackError("still there")
    )

    result = played(tmp_path, engine).result

    assert engine.log == ["up", "collect", "down"]
    assert (result.verdict, result.reason) == ("error", "no luck; no log; still there")


def test_collecting_that_takes_for_ever_is_told_and_the_stack_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(_: Stack) -> None:
        while True:
            time.sleep(0.01)

    monkeypatch.setattr(Stack, "collect", hang)
    monkeypatch.setattr(ending, "_COLLECTING", 0.5)
    monkeypatch.setattr(ending, "_LEAST", 3.0)
    engine = Engine(up=StackError("no luck"))

    result = played(tmp_path, engine).result

    assert engine.log == ["up", "down"]
    late = "collecting logs was not done when the 0.5 s for all of it were over"
    assert result.reason == f"no luck; {late}"


def test_a_fault_of_ours_is_an_error_with_its_traceback_in_the_timeline(tmp_path: Path) -> None:
    engine = Engine(up=KeyError("oops"))

    result = played(tmp_path, engine).result

    assert engine.log == ["up", "collect", "down"]
    assert result.reason == "KeyError: 'oops' (a fault of the sandbox itself)"
    assert "Traceback" in (tmp_path / "latest" / "basic" / "timeline.log").read_text()


def test_ctrl_c_collects_and_gives_back(tmp_path: Path) -> None:
    engine = Engine(up=KeyboardInterrupt())

    outcome = played(tmp_path, engine)

    assert engine.log == ["up", "collect", "down"]
    assert (outcome.interrupted, outcome.result.reason) == (True, "interrupted")


def test_what_the_engine_lacks_skips_a_scenario_untouched(tmp_path: Path) -> None:
    engine = Engine()
    engine.name, engine.has = "process", frozenset()
    text = "version: 1\nname: x\nworkload: {image: mine}"

    result = played(tmp_path, engine, parse(text, FILE)).result

    assert engine.log == []
    assert result.verdict == "skipped"
    assert result.reason == "the engine process lacks containers (workload.image)"


def test_a_folder_that_cannot_be_made_is_an_error_of_its_scenario(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device", "artifacts/basic")

    monkeypatch.setattr(module, "create_scenario_folder", full)
    engine = Engine()

    result = played(tmp_path, engine).result

    assert engine.log == []
    assert result.verdict == "error"
    assert "No space left on device: 'artifacts/basic'" in result.reason


@pytest.mark.parametrize(
    "error", [MachineError("no engine"), RuntimeError("a fault of ours")], ids=str
)
def test_results_are_written_also_when_nothing_could_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def choose(*_: object, **__: object) -> Engine:
        raise error

    monkeypatch.setattr(running, "choose", choose)
    options = Options(paths=(FILE,), artifacts=tmp_path)

    with pytest.raises(type(error)):
        running.run(options, Reporter(quiet=True))

    written = results.read(tmp_path / "latest")
    assert (written.verdict, written.reason, written.scenarios) == ("error", str(error), ())
    assert (tmp_path / "latest" / "environment.json").exists()
    assert not list((tmp_path / "latest").glob(".*"))


def test_a_strangers_scenarios_are_played_in_containers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine()
    engine.name, engine.has = "process", frozenset()
    monkeypatch.setattr(running, "choose", lambda *_, **__: engine)
    stranger = Untrusted(Path("/"), memory=2**33)
    options = Options(paths=(FILE,), artifacts=tmp_path, untrusted=stranger)

    with pytest.raises(MachineError, match="needs containers") as caught:
        running.run(options, Reporter(quiet=True))

    assert caught.value.exit_status == 3
    assert engine.log == []


def test_what_an_unfinished_run_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine()

    def breaks(_loaded: Loaded, _setting: Setting) -> Played:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(running, "choose", lambda *_, **__: engine)
    monkeypatch.setattr(running, "play", breaks)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    options = Options(paths=(FILE,), artifacts=tmp_path / "artifacts")

    with pytest.raises(RuntimeError):
        running.run(options, Reporter(quiet=True))

    written = json.loads((tmp_path / "artifacts" / "latest" / "results.json").read_text())
    assert engine.log == [f"remove {written['run']}"]
    assert written["verdict"] == "error"


def test_what_one_scenario_lacks_is_its_own_error_and_the_others_are_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(up=StackError("played"))
    refusal = MachineError("no registry answers", "pull it by hand")
    engine.prepare = lambda *_, **__: _raise(refusal)  # type: ignore[attr-defined]
    engine.name = "compose"
    engine.sharing = lambda *_: nullcontext()  # type: ignore[attr-defined]
    monkeypatch.setattr(running, "choose", lambda *_, **__: engine)
    monkeypatch.setattr(running, "clean", lambda *_: ())
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name, more in {"first": "workload: {image: mine}", "second": ""}.items():
        (tmp_path / f"{name}.yaml").write_text(f"version: 1\nname: {name}\n{more}\n")
    files = [tmp_path / "first.yaml", tmp_path / "second.yaml"]
    options = Options(paths=tuple(files), artifacts=tmp_path / "artifacts", jobs=1)

    assert running.run(options, Reporter(quiet=True)) == 1

    written = results.read(tmp_path / "artifacts" / "latest")
    assert [(one.name, one.verdict, one.reason) for one in written.scenarios] == [
        ("first", "error", str(refusal)),
        ("second", "error", "played"),
    ]
    assert engine.log.count("up") == 1

    with pytest.raises(MachineError, match="no registry answers"):
        running.run(replace(options, paths=(files[0],)), Reporter(quiet=True))


def _raise(error: Exception) -> None:
    raise error


def test_a_check_that_could_not_be_judged_is_not_said_to_have_failed() -> None:
    ways = {"a": "passed", "b": "failed", "c": "inconclusive", "d": "skipped", "e": "error"}
    checks = tuple(CheckResult(name=name, verdict=Verdict(way)) for name, way in ways.items())
    assert ending.name_bad_checks(checks) == ["did not hold: b", "could not be told: c, e"]
    assert ending.name_bad_checks(checks[2:3]) == ["could not be told: c"]
    assert ending.name_bad_checks(checks[:1]) == []
