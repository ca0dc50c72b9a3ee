"""Commands of the user's own that get nowhere, and say so neither by status nor otherwise."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from metta_sandbox.checks.evaluation import evaluate
from metta_sandbox.report.results import CheckResult, RunResult, ScenarioResult
from metta_sandbox.report.wording import headline
from metta_sandbox.verdict import Verdict

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import Evidence
    from tests.unit.checks.conftest import Played

TRACEBACK = (
    "Traceback (most recent call last):",
    '  File "/work/rollout.py", line 9, in main',
    "    raise RuntimeError(said)",
    "RuntimeError: Evaluation failed",
)
EPISODE = "/stats/episodes"
NAMES = "/sweeps/basic/runs/next"


@pytest.fixture
def ran(unplayed: Played) -> Played:
    """A command that looked the sweep up, and exited with 0 on both nodes."""
    unplayed.scenario["workload"] = {"run": "python rollout.py"}
    unplayed.events.clear()
    for node in (0, 1):
        unplayed.emit("command.exited", node, status=0)
    return unplayed


def of(results: tuple[CheckResult, ...], name: str) -> CheckResult:
    return next(result for result in results if result.name == name)


def printed(evidence: Evidence, *lines: str, node: str = "sweep-master") -> Evidence:
    with (evidence.folder / "timeline.jsonl").open("a") as file:
        for line in lines:
            said = {"line": line, "node": node, "source": "sweep", "received": 9.0}
            file.write(json.dumps(said) + "\n")
    return evidence


def test_a_command_that_calls_must_get_somewhere(ran: Played) -> None:
    verdict, detail = ran.judged("progress")

    assert verdict == "failed"
    assert detail == "expected a run named, saw none\nexpected a score, saw none"


def test_a_name_alone_is_not_enough(ran: Played) -> None:
    ran.call("POST", NAMES, {"run_id": "basic.r.1"})

    assert ran.judged("progress") == ("failed", "expected a score, saw none")


def test_an_answer_that_refused_names_nothing(ran: Played) -> None:
    ran.call("POST", NAMES, {"detail": "broken"}, 503)
    ran.call("POST", EPISODE, {"id": "e"}, 422)

    assert ran.judged("progress")[0] == "failed"


@pytest.mark.parametrize(
    "event",
    [
        pytest.param({"event": "observation.recorded", "score": 0.5}, id="an-observation"),
        pytest.param({"event": "train.finished", "reward": 2}, id="the-trainer-by-its-metric"),
    ],
)
def test_a_score_may_be_told(ran: Played, event: dict[str, Any]) -> None:
    ran.call("POST", NAMES, {"run_id": "basic.r.1"})
    ran.emit(event.pop("event"), 0, **event)

    assert ran.judged("progress")[0] == "passed"


def test_a_score_may_be_an_episode(ran: Played) -> None:
    ran.call("POST", "/stats/training-runs", {"id": "t"})
    ran.call("POST", EPISODE, {"id": "e"})

    assert ran.judged("progress")[0] == "passed"


@pytest.mark.parametrize(
    ("summary", "verdict"),
    [
        pytest.param({"score": 0.5}, "passed", id="its-score"),
        pytest.param({"reward": 0.5}, "passed", id="the-metric"),
        pytest.param({"reward": None}, "failed", id="none"),
        pytest.param({"loss": 0.5}, "failed", id="something-else"),
    ],
)
def test_a_score_may_stand_in_wandb(ran: Played, summary: dict[str, Any], verdict: str) -> None:
    ran.call("POST", NAMES, {"run_id": "basic.r.1"})
    ran.wandb("basic.r.1", summary=summary)

    assert ran.judged("progress")[0] == verdict


def test_a_run_may_be_tracked_below_the_working_folder(ran: Played) -> None:
    ran.call("POST", NAMES, {"run_id": "basic.r.1"})
    file = ran.wandb("basic.r.1", summary={"score": 0.5})
    own = ran.folder / "shared/workspace/wandb/wandb/run-20261130_214755-basic.r.1"
    own.parent.mkdir(parents=True)
    file.parent.rename(own)

    assert ran.judged("progress") == ("passed", "a run was named, and one was scored")


def test_who_only_looks_whether_it_is_there_need_not(ran: Played) -> None:
    ran.calls.clear()
    ran.call("GET", "/whoami", {})

    assert "progress" not in {result.name for result in evaluate(ran.evidence())}


def test_what_the_steady_state_asks_for_is_not_the_commands(ran: Played) -> None:
    ran.calls.clear()
    ran.call("GET", "/sweeps/mine", {})
    assert ran.judged("progress")[0] == "failed"

    ran.scenario["steady_state"] = [{"api": {"route": "GET /sweeps/mine"}}]
    assert "progress" not in {result.name for result in evaluate(ran.evidence())}


def test_the_file_may_ask_for_none_or_for_some(ran: Played) -> None:
    names = [result.name for result in evaluate(ran.evidence({"progress": False}))]
    assert names == ["no progress is asked for", "commands", "world size"]

    ran.calls.clear()
    (asked, *_) = evaluate(ran.evidence({"progress": True}))
    assert (asked.verdict, asked.asked_by) == (Verdict.FAILED, "expect[0]")


def test_a_record_that_is_broken_passes_for_no_silence(ran: Played) -> None:
    evidence = ran.evidence()
    (evidence.folder / "api/requests.jsonl").write_text("{\n")

    assert of(evaluate(evidence), "progress").verdict is Verdict.INCONCLUSIVE


def test_an_end_behind_a_traceback_is_warned_of(ran: Played) -> None:
    evidence = printed(ran.evidence(), "ERROR:root:Rollout failed", *TRACEBACK)
    printed(evidence, *TRACEBACK, node="sweep-worker")

    results = evaluate(evidence)

    assert of(results, "commands").verdict is Verdict.PASSED
    assert of(results, "commands").warning == (
        "sweep-master and sweep-worker exited with status 0 after a traceback: "
        "RuntimeError: Evaluation failed"
    )
    assert of(results, "progress").warning == ""


def test_one_that_went_on_is_told_only_where_nothing_came_of_it(ran: Played) -> None:
    results = evaluate(printed(ran.evidence(), *TRACEBACK, "Max consecutive failures reached: 3"))
    assert of(results, "commands").warning == ""
    assert "RuntimeError: Evaluation failed" in of(results, "progress").warning

    ran.call("POST", NAMES, {"run_id": "basic.r.1"})
    ran.call("POST", EPISODE, {"id": "e"})
    results = evaluate(printed(ran.evidence(), *TRACEBACK, "trying again"))
    assert [result.warning for result in results] == ["", "", ""]


def test_nothing_expected_and_nothing_seen_is_warned_of(ran: Played) -> None:
    ran.calls.clear()
    (ran.folder / "groups.json").unlink()

    assert "nothing was expected" in of(evaluate(ran.evidence()), "commands").warning
    expected = evaluate(ran.evidence({"exits": {"status": 0}}))
    assert of(expected, "commands").warning == ""
    ran.emit("mine.own", 0)
    assert of(evaluate(ran.evidence()), "commands").warning == ""


def test_the_headline_says_warnings() -> None:
    def played(verdict: Verdict, reason: str = "") -> RunResult:
        about: dict[str, Any] = {"engine": "process", "nodes": 2, "seconds": 1.0}
        check = CheckResult(name="commands", verdict=Verdict.PASSED, warning="it was odd")
        one = ScenarioResult(
            name="x", file="x.yaml", verdict=verdict, reason=reason, checks=(check,), **about
        )
        return RunResult(run="r", verdict=verdict, engine="process", seconds=1, scenarios=(one,))

    assert headline(played(Verdict.PASSED)) == (
        "1 scenario passed, 1 check held; x with a warning: it was odd."
    )
    assert headline(played(Verdict.FAILED, "did not hold: progress")) == (
        "x: did not hold: progress; it was odd."
    )
