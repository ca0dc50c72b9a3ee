"""Scenario files as tests; what plays them is replaced, and does as their description says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import wandb  # noqa: F401 - sessions within this one forget what they import, which NumPy can't bear

from metta_sandbox.errors import MachineError, StackError
from metta_sandbox.play import run as running
from metta_sandbox.play.setting import Played, Setting
from metta_sandbox.report import results
from metta_sandbox.report.results import CheckResult, ScenarioResult
from metta_sandbox.scenario.abilities import Ability
from metta_sandbox.scenario.loading import Loaded
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.stack.provision import Provision
from metta_sandbox.verdict import Verdict

pytest_plugins = ["pytester"]

MATRIX = """\
version: 1
name: scaling
description: passed
tags: [smoke, two words, skip, _]
matrix: {nodes: [1, 2]}
expect:
  - trials: {completed: 2}
"""


class Engine:
    name = "process"
    has = frozenset(Ability)
    versions: dict[str, str] = {}  # noqa: RUF012 - an engine has them as an attribute

    def __init__(self) -> None:
        self.removed: list[str] = []

    def made(self) -> dict[str, object]:
        return {}

    def remove(self, run: str) -> None:
        self.removed.append(run)

    def prepare(self, provision: Provision, *_: object, **__: object) -> None:
        raise StackError(f"{provision.requirements[0].text} can't be had", "is the name right?")


def pretend(loaded: Loaded, setting: Setting) -> Played:
    """Play a scenario whose description is its verdict."""
    scenario = loaded.scenario
    (setting.folder / scenario.name).mkdir()
    setting.progress(f"playing {scenario.name}")
    said = scenario.description
    if said == "raise":
        raise RuntimeError("a fault of ours")
    if said == "limit":
        pytest.fail("over its time limit")
    interrupted = said == "interrupt"
    verdict = Verdict.ERROR if interrupted else Verdict(said)
    checks = [CheckResult(name="trials", verdict=Verdict.PASSED)]
    if verdict in (Verdict.FAILED, Verdict.INCONCLUSIVE):
        detail = "expected 2 completed, saw 1\ntimeline.jsonl:7"
        asked = "expect[0]"
        checks = [CheckResult(name="trials", verdict=verdict, detail=detail, asked_by=asked)]
    result = ScenarioResult(
        name=scenario.name,
        file=str(loaded.file),
        verdict=verdict,
        reason="" if verdict is Verdict.PASSED else f"it is {said}",
        engine="process",
        nodes=scenario.nodes,
        seconds=1.0,
        checks=() if verdict is Verdict.ERROR else tuple(checks),
    )
    return Played(result, interrupted, {})


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Engine:
    made = Engine()
    monkeypatch.setattr(running, "choose", lambda *_, **__: made)
    monkeypatch.setattr(running, "play", pretend)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    return made


@pytest.fixture
def case(pytester: pytest.Pytester, engine: Engine) -> pytest.Pytester:
    assert not engine.removed
    return pytester


def write(pytester: pytest.Pytester, path: str, said: str = "passed", text: str = "") -> Path:
    file = pytester.path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    name = file.stem.strip("_")
    file.write_text(
        text
        or f"version: 1\nname: {name}\ndescription: {said}\n"
        "expect:\n  - log: {lacks: x}\n  - trials: {completed: 2}\n"
    )
    return file


def run(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    """Run pytest with this plugin alone; a Ctrl-C in there does not come out."""
    ours = ("-p", "metta_sandbox.pytest_plugin", "--strict-markers")
    return pytester.runpytest_inprocess(*ours, *words, no_reraise_ctrlc=True)


def test_each_cell_of_a_matrix_is_a_test_with_a_readable_id(case: pytest.Pytester) -> None:
    write(case, "scenarios/basic.yaml")
    write(case, "scenarios/scaling.yml", text=MATRIX)

    outcome = run(case, "scenarios", "-v")

    outcome.assert_outcomes(passed=3)
    outcome.stdout.fnmatch_lines(
        [
            "scenarios/basic.yaml::basic PASSED*",
            "scenarios/scaling.yml::scaling[[]nodes=1[]] PASSED*",
            "scenarios/scaling.yml::scaling[[]nodes=2[]] PASSED*",
            "PASSED on process in *: 3 scenarios passed*Artifacts in artifacts/2*",
        ]
    )
    (folder,) = (case.path / "artifacts").glob("2*")
    assert [one.name for one in results.read(folder).scenarios] == [
        "basic",
        "scaling-nodes-1",
        "scaling-nodes-2",
    ]
    assert (folder / "junit.xml").exists()


@pytest.mark.parametrize(
    ("words", "passed"),
    [
        (["scenarios", "-k", "scaling and not basic"], 2),
        (["scenarios", "-k", "smoke"], 2),
        (["scenarios", "-m", "smoke"], 2),
        (["scenarios", "-m", "two_words"], 2),
        (["scenarios/scaling.yaml::scaling[nodes=2]"], 1),
        (["scenarios/basic.yaml"], 1),
    ],
)
def test_tests_are_chosen_as_all_others(
    case: pytest.Pytester, words: list[str], passed: int
) -> None:
    write(case, "scenarios/basic.yaml")
    write(case, "scenarios/scaling.yaml", text=MATRIX)

    outcome = run(case, *words).parseoutcomes()
    assert (outcome.pop("passed"), set(outcome)) in ((passed, set()), (passed, {"deselected"}))


def test_a_failing_check_is_what_is_shown(case: pytest.Pytester) -> None:
    write(case, "scenarios/bad.yaml", "failed")

    outcome = run(case, "scenarios")

    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines(
        [
            "bad failed: it is failed",
            "scenarios/bad.yaml:5: failed trials",
            "    expected 2 completed, saw 1",
            "    timeline.jsonl:7",
            "artifacts in artifacts/2*/bad",
            "* Captured stdout call *",
            "* playing bad",
            "FAILED scenarios/bad.yaml::bad - failed: trials: expected 2 completed, saw 1",
        ]
    )
    outcome.stdout.no_fnmatch_line("*metta_sandbox/*.py*")
    outcome.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("inconclusive", "inconclusive: trials: expected 2 completed, saw 1"),
        ("error", "error: it is error"),
    ],
)
def test_what_could_not_be_told_fails_with_its_reason(
    case: pytest.Pytester, said: str, told: str
) -> None:
    write(case, "bad.yaml", said)

    outcome = run(case)

    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines([f"FAILED bad.yaml::bad - {told}"])


def test_a_skipped_scenario_is_skipped_at_its_file(case: pytest.Pytester) -> None:
    write(case, "bad.yaml", "skipped")

    outcome = run(case, "-rs")

    outcome.assert_outcomes(skipped=1)
    outcome.stdout.fnmatch_lines(["SKIPPED [[]1[]] bad.yaml:1: it is skipped"])


def test_wrong_files_are_collection_errors_with_their_places(case: pytest.Pytester) -> None:
    write(case, "wrong.yaml", text="version: 1\nname: wrong\nnodez: 2\nseed: none\n")
    write(case, "missing.yaml", text="extends: absent.yaml\nname: missing\n")
    write(case, "folder.yaml", text="version: 1\nname: folder\nworkload: {run: ls, folder: no}\n")

    outcome = run(case)

    outcome.assert_outcomes(errors=3)
    outcome.stdout.fnmatch_lines_random(
        [
            "wrong.yaml:3:1: nodez: unknown key; did you mean nodes?",
            "wrong.yaml:4:7: seed: *",
            "missing.yaml:1:10: extends: absent.yaml: No such file*",
            "folder.yaml:3:29: workload.folder: */no is no folder",
        ]
    )
    outcome.stdout.no_fnmatch_line("*Traceback*")
    outcome.stdout.no_fnmatch_line("*metta_sandbox/*.py*")
    assert not (case.path / "artifacts").exists()


THEIRS = (
    "version: '3'\nname: project\nservices: {}\n",
    "version: 1.0\nname: package\n",
    "version: 1\nupdates: []\n",
    "name: workflow\non: push\n",
    "extends: standard\nname: rules\n",
    "job:\n  version: 1\n  name: nested\n",
    "version: 1\njob:\n  name: nested\n",
    "- version: 1\n- name: list\n",
    "%!@\x00",
)


def test_files_of_others_are_left_alone(case: pytest.Pytester) -> None:
    for number, text in enumerate(THEIRS):
        write(case, f"theirs-{number}.yaml", text=text)
    (case.path / "test_mine.py").write_text("def test_mine(): pass\n")

    outcome = run(case)

    outcome.assert_outcomes(passed=1)
    outcome.stdout.no_fnmatch_line("* metta-sandbox *")


def test_what_is_there_to_be_extended_is_played_only_when_it_is_named(
    case: pytest.Pytester,
) -> None:
    write(case, "_base.yaml")
    write(case, "_parts/part.yaml")
    write(case, "own.yaml", text="\ufeffextends: _base.yaml\r\nname: own\r\n")

    run(case).assert_outcomes(passed=1)
    run(case, "_base.yaml").assert_outcomes(passed=1)
    run(case, "_parts").assert_outcomes(passed=1)


def test_what_runs_left_is_passed_over_unless_it_is_named(case: pytest.Pytester) -> None:
    write(case, "basic.yaml")
    run(case).assert_outcomes(passed=1)
    (folder,) = (case.path / "artifacts").glob("2*")
    write(case, f"artifacts/{folder.name}/basic/scenario.yaml")
    (folder / "basic" / "test_copy.py").write_text("def test_copy(): pass\n")

    run(case).assert_outcomes(passed=1)
    run(case, str(folder / "basic" / "scenario.yaml")).assert_outcomes(passed=1)


def test_options_are_those_of_the_command_line(
    case: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Scenario, Setting]] = []

    def look(loaded: Loaded, setting: Setting) -> Played:
        seen.append((loaded.scenario, setting))
        return pretend(loaded, setting)

    monkeypatch.setattr(running, "play", look)
    text = "version: 1\nname: v\ndescription: passed\nvariables: {many: 3}\nnodes: ${many}\n"
    write(case, "v.yaml", text=text)
    (case.path / "copy").mkdir()

    run(
        case, "--sandbox-set=many=5", "--sandbox-artifacts=kept", "--sandbox-source=copy"
    ).assert_outcomes(passed=1)

    ((scenario, setting),) = seen
    assert scenario.nodes == 5
    assert setting.options.source == case.path / "copy"
    assert setting.folder.parent == case.path / "kept"


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("--sandbox-set=many", "*--set many: expected name=value*"),
        ("--sandbox-source=absent", "*--sandbox-source absent: no such folder*"),
        ("--sandbox-engine=swarm", "*invalid choice: 'swarm'*"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    case: pytest.Pytester, word: str, told: str
) -> None:
    write(case, "basic.yaml")

    outcome = run(case, word)

    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    outcome.stderr.fnmatch_lines([told])
    outcome.stderr.no_fnmatch_line("*Traceback*")


def test_a_value_for_a_variable_that_no_file_has_is_told_by_every_scenario(
    case: pytest.Pytester,
) -> None:
    write(case, "basic.yaml")

    outcome = run(case, "--sandbox-set=many=5")

    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines(["--sandbox-set many: no scenario file has this variable"])
    assert not (case.path / "artifacts").exists()


def test_a_machine_that_can_play_nothing_fails_each_scenario_and_no_other_test(
    case: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def choose(*_: object, **__: object) -> Engine:
        asked.append(1)
        raise MachineError("no Docker engine answers", "start it")

    monkeypatch.setattr(running, "choose", choose)
    write(case, "one.yaml")
    write(case, "two.yaml")
    (case.path / "test_mine.py").write_text("def test_mine(): pass\n")

    outcome = run(case)

    outcome.assert_outcomes(passed=1, failed=2)
    outcome.stdout.fnmatch_lines(
        [
            "no Docker engine answers",
            "  -> start it",
            "FAILED one.yaml::one - no Docker engine answers",
        ]
    )
    outcome.stdout.no_fnmatch_line("*metta_sandbox/*.py*")
    assert asked == [1]


@pytest.mark.parametrize(
    ("said", "reason"), [("limit", "over its time limit"), ("raise", "a fault of ours")]
)
def test_what_breaks_off_a_scenario_ends_the_run_and_the_next_one_begins(
    case: pytest.Pytester, engine: Engine, said: str, reason: str
) -> None:
    """Another plugin's time limit does, and so does a fault of the sandbox itself."""
    write(case, "a.yaml", said)
    write(case, "b.yaml")

    run(case).assert_outcomes(passed=1, failed=1)

    cut, whole = sorted((case.path / "artifacts").glob("2*"), key=lambda one: one.stat().st_mtime)
    assert engine.removed == [cut.name]
    assert results.read(cut).reason == reason
    assert results.read(whole).verdict is Verdict.PASSED


def test_what_a_scenario_brings_along_and_cannot_be_had_is_told_in_a_line(
    case: pytest.Pytester,
) -> None:
    text = "version: 1\nname: a\nworkload: {run: ls, requirements: [absent-one]}\n"
    write(case, "a.yaml", text=text)
    write(case, "b.yaml")

    outcome = run(case)

    outcome.assert_outcomes(passed=1, failed=1)
    outcome.stdout.fnmatch_lines(
        ["  -> is the name right?", "FAILED a.yaml::a - absent-one can't be had"]
    )
    outcome.stdout.no_fnmatch_line("*metta_sandbox/*.py*")


def test_ctrl_c_ends_the_session_once_the_evidence_is_safe(case: pytest.Pytester) -> None:
    write(case, "a.yaml", "interrupt")
    write(case, "b.yaml")

    outcome = run(case)

    assert outcome.ret == pytest.ExitCode.INTERRUPTED
    (folder,) = (case.path / "artifacts").glob("2*")
    written = results.read(folder)
    assert (written.reason, [one.name for one in written.scenarios]) == ("interrupted", ["a"])
    outcome.stdout.fnmatch_lines(["ERROR on process*Interrupted.*Artifacts in *"])


def test_the_last_failures_are_played_again(case: pytest.Pytester) -> None:
    write(case, "a.yaml", "failed")
    write(case, "b.yaml")
    run(case).assert_outcomes(failed=1, passed=1)
    write(case, "a.yaml", "passed")

    run(case, "--lf").assert_outcomes(passed=1)


def test_annotations_reach_githubs_log(
    case: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(case.path))
    write(case, "bad.yaml", "failed")

    run(case).stdout.fnmatch_lines(["::error file=bad.yaml,line=5,*"])


def test_strict_warnings_do_not_decide_how_a_scenario_comes_out(
    case: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warn(loaded: Loaded, setting: Setting) -> Played:
        import warnings  # noqa: PLC0415

        warnings.warn("old", DeprecationWarning, stacklevel=1)
        return pretend(loaded, setting)

    monkeypatch.setattr(running, "play", warn)
    write(case, "basic.yaml")

    run(case, "-W", "error").assert_outcomes(passed=1, warnings=1)


def test_sessions_without_scenarios_import_next_to_nothing(pytester: pytest.Pytester) -> None:
    (pytester.path / "theirs.yaml").write_text("on: push\n")
    (pytester.path / "test_mine.py").write_text(
        "import sys\n"
        "def test_mine():\n"
        "    ours = sorted(name for name in sys.modules if name.startswith('metta_sandbox'))\n"
        "    assert ours == ['metta_sandbox', 'metta_sandbox.pytest_plugin']\n"
        "    assert not {'pydantic', 'ruamel.yaml', 'rich', 'wandb'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:importnb", "-q"]

    said = subprocess.run(command, cwd=pytester.path, capture_output=True, text=True, check=False)

    assert said.returncode == 0, said.stdout
