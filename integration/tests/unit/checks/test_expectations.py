"""The items of a scenario's ``expect``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from metta_sandbox.checks import evaluation
from metta_sandbox.checks.evaluation import STANDING, Seconds, evaluate
from metta_sandbox.matching import Matcher
from metta_sandbox.scenario.expect.kind import CheckKind
from metta_sandbox.scenario.expect.kinds.log import LogCheck
from metta_sandbox.scenario.loading import Loaded
from metta_sandbox.scenario.tree import read

if TYPE_CHECKING:
    from metta_sandbox.scenario.expect.judgement import Judgement
    from tests.unit.checks.conftest import Played


def first(played: Played, item: dict[str, Any]) -> tuple[str, str, str]:
    result = evaluate(played.evidence(item))[0]
    return result.name, result.verdict.value, result.detail


def trials(**counts: Any) -> dict[str, Any]:
    return {"trials": counts}


def log(**said: str) -> dict[str, Any]:
    return {"log": said}


def test_items_come_in_the_order_of_the_file_before_the_standing_checks(played: Played) -> None:
    items = [
        log(contains=r"epoch\d"),
        trials(completed=2, failed={"at_most": 1}),
        log(lacks="Trace"),
    ]

    names = [result.name for result in evaluate(played.evidence(*items))]

    assert names == [
        r"log contains 'epoch\d'",
        "trials: exactly 2 completed, at most 1 failed",
        "log lacks 'Trace'",
        *(name for name in STANDING if name != "trials"),
    ]


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ({"completed": 1, "failed": 1}, "passed"),
        ({"completed": {"at_least": 1}}, "passed"),
        ({"failed": {"at_most": 1}}, "passed"),
        ({"completed": {"at_least": 2}}, "failed"),
        ({"completed": 1, "failed": 0}, "failed"),
        ({"failed": {"at_least": 2}}, "failed"),
    ],
)
def test_trials_are_counted(played: Played, counts: dict[str, Any], verdict: str) -> None:
    played.change("trials/basic.r.2/trial.json", status="failed", reason="rank 1 exited with 3")

    _, seen, detail = first(played, trials(**counts))

    assert seen == verdict
    assert ("trials/basic.r.2/trial.json: failed: rank 1 exited with 3" in detail) == (
        verdict == "failed"
    )


def test_a_trial_that_began_and_left_no_record_has_failed(played: Played) -> None:
    played.emit("suggestion.made", 0, trial=3, suggestion={})

    _, verdict, detail = first(played, trials(completed=2, failed=0))

    assert verdict == "failed"
    assert detail.splitlines() == [
        "expected exactly 0 failed, saw 1",
        "trial 3 began and left no trial.json",
    ]


def test_no_trial_at_all_fails_even_what_it_would_satisfy(unplayed: Played) -> None:
    _, verdict, detail = first(unplayed, trials(failed=0))

    assert (verdict, detail) == ("failed", "no trial ever began")


@pytest.mark.parametrize(
    ("said", "verdict", "detail"),
    [
        ({"contains": r"loss \d"}, "passed", "logs/sweep-master.log:2: epoch 1 loss 0.5"),
        ({"contains": "sweep-worker"}, "passed", "sweep-worker.log:1: hello from sweep-worker"),
        ({"contains": "rank 1"}, "passed", "trials/basic.r.1/rank-1.log:1: training on rank 1"),
        ({"contains": "api is", "on": "dummy-api"}, "passed", "logs/dummy-api.log:1: api is up"),
        ({"contains": "api is"}, "failed", "saw none in 8 lines of 6 files"),
        ({"contains": "hello from sweep-worker", "on": "sweep-master"}, "failed",
         "nearest: logs/sweep-master.log:1: hello from sweep-master"),
        ({"contains": "zzz+"}, "failed", "expected a line to match 'zzz+', saw none"),
        ({"lacks": "Traceback"}, "passed", "no match in 8 lines of 6 files"),
        ({"lacks": "on rank 0", "on": "sweep-worker"}, "passed", "no match in 4 lines of 3 files"),
        ({"lacks": "on rank 1", "on": "sweep-worker"}, "failed", "rank-1.log:1: training on rank"),
        ({"lacks": "^epoch"}, "failed", "saw logs/sweep-master.log:2: epoch 1 loss 0.5"),
    ],
)  # fmt: skip
def test_logs_are_searched(played: Played, said: dict[str, str], verdict: str, detail: str) -> None:
    _, seen, told = first(played, log(**said))

    assert detail in told
    assert seen == verdict


@pytest.mark.parametrize("said", [{"lacks": "Traceback"}, {"contains": "nowhere"}])
@pytest.mark.parametrize("state", ["missing", "empty"])
def test_what_was_not_found_means_nothing_while_a_log_is_not_there(
    played: Played, said: dict[str, str], state: str
) -> None:
    path = played.folder / "logs" / "sweep-worker.log"
    if state == "missing":
        path.unlink()
    else:
        path.write_text("")

    _, verdict, detail = first(played, log(**said))

    assert verdict == "inconclusive"
    assert f"logs/sweep-worker.log is {state}" in detail


def test_what_was_found_counts_though_another_log_is_not_there(played: Played) -> None:
    (played.folder / "logs" / "sweep-worker.log").unlink()

    assert first(played, log(contains="epoch"))[1] == "passed"
    assert first(played, log(lacks="epoch"))[1] == "failed"


def test_bytes_that_are_no_text_and_long_lines_are_searched_too(played: Played) -> None:
    path = played.folder / "logs" / "sweep-master.log"
    path.write_bytes(b"\xff\xfe" + b"x" * 100_000 + b"needle\n")

    _, verdict, detail = first(played, log(contains="needle$"))

    assert verdict == "passed"
    assert len(detail) < 300


@pytest.mark.parametrize(
    "said",
    [
        {"log": {"lacks": "^(a+)+$"}},
        {"log": {"contains": "^(a+)+$"}},
        {"log": {"contains": "^(a+)+$", "times": 1}},
        {"log": {"in_order": ["hello", "^(a+)+$"]}},
    ],
)
def test_a_pattern_that_takes_for_ever_is_inconclusive_and_the_others_are_judged(
    played: Played, said: dict[str, Any], tmp_path: Path
) -> None:
    played.write("logs/sweep-master.log", f"hello\n{'a' * 40}!\n")
    file = tmp_path / "redos.yaml"
    file.write_text("name: x\nexpect:\n  - log: {lacks: '^(a+)+$'}\n  - log: {contains: hello}\n")
    evidence = replace(
        played.evidence(said, {"log": {"contains": "hello"}}), matcher=Matcher(seconds=0.5)
    )

    loaded = Loaded(evidence.scenario, file, read(file.read_text(), str(file)))
    first, second, *others = evaluate(evidence, loaded)

    assert first.verdict.value == "inconclusive"
    assert first.where == ("logs/sweep-master.log:2",)
    expected = (
        "logs/sweep-master.log:2: the pattern '^(a+)+$' could not be matched against this line "
        f"within 0.5 s ({file}:3)\n  -> write it so that"
    )
    assert first.detail.startswith(expected)
    assert {each.verdict.value for each in (second, *others)} == {"passed"}


def test_so_is_one_for_run_names(played: Played) -> None:
    name = "a" * 40 + "!"
    for event in played.events_of("run.named", trial=2):
        event["run"] = name
    item = {"run_names": {"pattern": "(a+)+"}}
    evidence = replace(played.evidence(item), matcher=Matcher(seconds=0.5))

    first, *_ = evaluate(evidence)

    assert first.verdict.value == "inconclusive"
    assert "'(a+)+' could not be matched" in first.detail


def test_a_check_that_takes_for_ever_is_inconclusive_and_the_others_are_judged(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*_: object) -> Judgement:
        while True:
            time.sleep(0.01)

    expected: dict[type[CheckKind], Callable[..., Judgement]] = {
        **evaluation.JUDGES,
        LogCheck: hang,
    }
    monkeypatch.setattr(evaluation, "JUDGES", expected)
    evidence = played.evidence({"log": {"contains": "hello"}}, {"trials": {"completed": 2}})

    first, second, *_ = evaluate(evidence, seconds=Seconds(each=0.3))

    assert (first.verdict.value, first.detail) == (
        "inconclusive",
        "the check was not done within 0.3 s",
    )
    assert second.verdict.value == "passed"
    late = evaluate(evidence, seconds=Seconds(all=0.0))
    assert {each.verdict.value for each in late} == {"inconclusive"}
