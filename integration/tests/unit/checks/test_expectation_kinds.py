"""Each kind of expectation passes, fails with what, and where, was seen, or can't tell."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from metta_sandbox.checks.evaluation import JUDGES, STANDING, evaluate
from metta_sandbox.report.results import CheckResult
from metta_sandbox.scenario.expect import KINDS
from metta_sandbox.scenario.loading import to_yaml

if TYPE_CHECKING:
    from tests.unit.checks.conftest import Played

Spoil = Callable[["Played"], object]
Item = dict[str, Any]
LR = "trainer.optimizer.learning_rate"
NEXT = "POST /sweeps/{name}/runs/next"


def proof(played: Played, problem: str = "", **files: str) -> None:
    """Write what a node said of the trials' checkpoints."""
    said = {f"trials/basic.r.{number}/checkpoint.pt": "" for number in (1, 2)}
    said |= {f"trials/{name}/checkpoint.pt": text for name, text in files.items()}
    played.write("checkpoints.json", json.dumps({"problem": problem, "files": said}))


def judged(played: Played, item: Item) -> CheckResult:
    result = evaluate(played.evidence(item))[0]
    assert result.asked_by == "expect[0]"
    return result


def test_each_kind_is_evaluated_by_something() -> None:
    said = [next(iter(kind.model_fields.values())).annotation for kind in KINDS.values()]
    assert list(JUDGES) == said


PASSING: list[tuple[Item, str, str]] = [
    ({"trials": {"completed": 2, "pending": 0}}, "2 completed, 0 failed", "basic.r.1/trial.json"),
    ({"run_names": {}}, "basic.r.1, basic.r.2", "timeline.jsonl"),
    ({"run_names": {"values": ["basic.r.1", "basic.r.2"]}}, "basic.r.1, basic.r.2", "timeline"),
    ({"run_names": {"pattern": r"basic\.r\.\d"}}, "basic.r.1", "timeline.jsonl"),
    ({"overrides": {}}, "2 overrides in trial 1 (basic.r.1)", "basic.r.1/overrides.json"),
    ({"overrides": {"values": {LR: 0.25, "trainer.total_timesteps": {"at_most": 512}}}}, "2", ""),
    ({"digests": "equal"}, "000000000000… on 2 ranks of trial 1", "basic.r.1/rank-0.digest"),
    ({"score": {"value": 1.4, "within": "10%"}}, "1.5 of trial 1", "basic.r.1/trial.json:5"),
    ({"score": {"of": "best", "above": 1, "below": 2}}, "1.5 of trial 1", ""),
    ({"cost": {"of": 2, "value": 512}}, "512 of trial 2 (basic.r.2)", "basic.r.2/trial.json:6"),
    (
        {"wandb": {"history": 3, "summary": {"reward": {"at_least": 1.5}}}},
        "3 rows of history, reward 1.5 in trial 1",
        "",
    ),
    (
        {"wandb": {"config": {LR: 0.25}}},
        f"{LR} 0.25 in trial 1",
        "wandb/offline-run-20261122_184202-basic.r.1/",
    ),
    ({"api": {"route": NEXT, "calls": 2, "status": 200}}, "2 calls", "api/requests.jsonl:3"),
    ({"api": {"route": NEXT, "calls": 0, "status": 503}}, "0 calls", "api/requests.jsonl"),
    ({"log": {"in_order": ["hello", "loss"]}}, "logs/sweep-master.log:2: epoch", "master.log:2"),
    ({"log": {"contains": "epoch", "times": 2}}, "2 lines", "logs/sweep-worker.log:2"),
    ({"log": {"contains": "nowhere", "times": 0}}, "0 lines", "logs/sweep-master.log"),
    ({"events": {"happens": "run.named"}}, "run.named: 2 times", "timeline.jsonl:5"),
    ({"events": {"happens": "rank.exited", "where": {"status": 0}, "times": 4}}, "4 times", ""),
    ({"events": {"happens": "suggestion.made", "where": {f"suggestion.{LR}": 0.25}}}, "2", ""),
    ({"events": {"never": "rank.exited", "where": {"status": 1}}}, "none among", ""),
    ({"events": {"happens": "rank.exited", "times": 2, "each": "trial"}}, "(trial=2): 2 times", ""),
    (
        {"events": {"in_order": ["handoff.sent", "handoff.received"], "within": 1}},
        "handoff.sent to handoff.received: 1.000 s by receipt at the harness",
        "timeline.jsonl:6",
    ),
    (
        {"events": {"in_order": ["run.named", "eval.finished"], "within": 9, "each": "trial"}},
        "run.named to eval.finished (trial=2): 8.000 s by receipt",
        "timeline.jsonl",
    ),
    ({"checkpoint": "loadable"}, "checkpoint.pt of trial 1", "trials/basic.r.1/checkpoint.pt"),
    ({"checkpoint": {"state": "present", "file": "*.digest"}}, "rank-0.digest, rank-1", "rank-0"),
    ({"exits": {"status": 0}}, "4 ends with status 0", "timeline.jsonl"),
    ({"exits": {"status": [0, 1], "rank": 1, "of": 2}}, "1 end with status 0", "timeline.jsonl"),
    ({"duration": {"at_most": 20}}, "20.000 s", ""),
    ({"duration": {"of": "up", "at_least": 1, "at_most": "1500ms"}}, "1.500 s", ""),
    ({"duration": {"of": "trial", "at_most": 3}}, "3.000 s of trial 1", "basic.r.1/trial.json:7"),
]


@pytest.mark.parametrize(("item", "seen", "where"), PASSING)
def test_what_holds_passes_with_what_was_seen(
    played: Played, item: Item, seen: str, where: str
) -> None:
    proof(played)

    result = judged(played, item)

    assert result.verdict == "passed", result.detail
    assert seen in result.seen
    assert any(where in place for place in result.where or ("",))
    assert result.expected


def change(name: str, **fields: Any) -> Spoil:
    return lambda played: played.change(name, **fields)


def update(event: str, change: Item, **fields: object) -> Spoil:
    return lambda played: [found.update(change) for found in played.events_of(event, **fields)]


def differ(played: Played) -> None:
    for event in played.events_of("train.finished", trial=2, rank=1):
        event["digest"] = "f" * 64
    played.write("trials/basic.r.2/rank-1.digest", "f" * 64)


def nothing(_: Played) -> None:
    """Leave all as it is."""


T2 = "trials/basic.r.2/trial.json"


def four_trials(played: Played) -> None:
    """Ask for more trials than there were."""
    played.scenario["sweep"] = {"trials": 4}


FAILING: list[tuple[Item, Spoil, str, str]] = [
    (
        {"trials": {"pending": 0}},
        lambda p: p.emit("suggestion.made", 0, trial=3, suggestion={}),
        "expected exactly 0 pending, saw 1",
        "",
    ),
    (
        {"run_names": {}},
        update("run.named", {"run": "basic.r.1"}, trial=2),
        "'basic.r.1' was given to 2 trials",
        "timeline.jsonl",
    ),
    (
        {"run_names": {"unique": False}},
        update("run.named", {"run": "basic.r.9"}, trial=1),
        "expected rising numbers, saw basic.r.9, basic.r.2",
        "timeline.jsonl",
    ),
    ({"run_names": {"pattern": r"basic\.r\.1"}}, nothing, "saw 'basic.r.2'", "timeline.jsonl"),
    ({"run_names": {"values": ["basic.r.1"]}}, nothing, "saw basic.r.1, basic.r.2", ""),
    (
        {"overrides": {}},
        update("handoff.received", {"overrides": {LR: 0.5}}, node_rank=1, trial=2),
        "received another trainer.optimizer.learning_rate: expected 0.25, saw 0.5",
        "",
    ),
    (
        {"overrides": {"equal": False}},
        update("suggestion.made", {"suggestion": {LR: 0.5}}, trial=2),
        "the suggestion is not what was handed off",
        "",
    ),
    (
        {"overrides": {"equal": False, "as_suggested": False, "values": {LR: {"above": 0.3}}}},
        nothing,
        f"trial 1 (basic.r.1): {LR}: expected above 0.3, saw 0.25",
        "trials/basic.r.1/overrides.json:1",
    ),
    ({"overrides": {"values": {"a": 1}}}, nothing, "a: expected 1, saw nothing", "overrides.json"),
    ({"digests": "equal"}, differ, "…, another ", "basic.r.2/rank-0.digest"),
    ({"digests": "different"}, nothing, "trial 1 (basic.r.1): expected different digests", ""),
    (
        {"score": {"value": 1.0, "within": 0.25}},
        nothing,
        "trials/basic.r.1/trial.json:5: trial 1 (basic.r.1): expected 1 within 0.25, saw 1.5",
        "trials/basic.r.1/trial.json:5",
    ),
    ({"score": {"of": "any", "above": 2}}, nothing, "trial 2 (basic.r.2): expected above 2", T2),
    ({"score": {"of": 3, "above": 0}}, four_trials, "expected trial 3, saw none: 2 trials", ""),
    ({"score": {"of": 2, "above": 0}}, change(T2, status="failed"), "expected trial 2, saw", ""),
    ({"cost": {"above": 0}}, change(T2, cost=None), "trial 2 (basic.r.2): expected above 0", T2),
    (
        {"wandb": {"history": {"at_least": 4}}},
        nothing,
        "trial 1 (basic.r.1): history: expected at least 4 rows, saw 3",
        "wandb/offline-run-20261122_184202-basic.r.1/run-basic.r.1.wandb",
    ),
    ({"wandb": {"summary": {"x": 1}}}, nothing, "summary x: expected 1, saw nothing", "wandb/"),
    ({"wandb": {"config": {LR: True}}}, nothing, "expected True, saw 0.25", "wandb/"),
    ({"wandb": {"summary": {"reward": {"below": 1}}}}, nothing, "below 1, saw 1.5", "wandb/"),
    (
        {"wandb": {"history": {"at_least": 0}}},
        lambda p: shutil.rmtree(p.folder / "wandb"),
        "expected an offline W&B run, saw none",
        "wandb",
    ),
    (
        {"api": {"route": NEXT, "calls": 1}},
        nothing,
        "expected exactly 1 call, saw 2 calls",
        "api/requests.jsonl:3",
    ),
    (
        {"api": {"route": NEXT, "calls": 1, "status": 503}},
        nothing,
        "saw 0 calls (all of that route: 2 of 200)",
        "",
    ),
    (
        {"api": {"route": NEXT, "calls": 1, "status": 503}},
        lambda p: p.calls[-1].update(status=None),
        "saw 0 calls (all of that route: 1 of 200, 1 without an answer)",
        "",
    ),
    (
        {"log": {"in_order": ["loss", "hello"]}},
        nothing,
        "expected a line to match 'hello' after logs/sweep-master.log:2: epoch 1 loss 0.5",
        "logs/sweep-master.log:2",
    ),
    ({"log": {"contains": "epoch", "times": 3}}, nothing, "saw 2 lines", "sweep-worker.log:2"),
    (
        {"events": {"happens": "run.named", "where": {"trial": 7}}},
        nothing,
        "expected run.named (trial=7) at least once, saw it 0 times; run.named as such 2 times",
        "timeline.jsonl",
    ),
    ({"events": {"happens": "run.named", "times": 1}}, nothing, "saw it 2 times", "timeline.jsonl"),
    (
        {"events": {"never": "run.named", "where": {"trial": 2}}},
        nothing,
        "expected run.named (trial=2) never, saw it at +",
        "timeline.jsonl",
    ),
    (
        {"events": {"in_order": ["rollout.finished", "run.named"]}},
        nothing,
        "expected run.named after rollout.finished at +",
        "timeline.jsonl",
    ),
    (
        {"events": {"in_order": ["handoff.sent", "eval.finished"], "within": "2s"}},
        nothing,
        "expected handoff.sent to eval.finished within 2 s, saw 7.000 s by receipt at the harness",
        "timeline.jsonl",
    ),
    (
        {"events": {"happens": "train.finished", "where": {"rank": 1}, "each": "trial"}},
        lambda p: p.drop("train.finished", rank=1, trial=2),
        "expected train.finished (rank=1, trial=2) at least once",
        "timeline.jsonl",
    ),
    (
        {"checkpoint": "loadable"},
        lambda p: proof(p, **{"basic.r.2": "EOFError: no data"}),
        "expected one that torch loads, saw EOFError: no data",
        "trials/basic.r.2/checkpoint.pt",
    ),
    (
        {"checkpoint": "present"},
        lambda p: p.write("trials/basic.r.2/checkpoint.pt", ""),
        "trial 2 (basic.r.2): expected a file checkpoint.pt, saw none",
        "trials/basic.r.2",
    ),
    (
        {"exits": {"status": 0}},
        update("rank.exited", {"status": -9}, group="trial-2", rank=1),
        "trial 2: rank 1: expected status 0, saw status -9",
        "timeline.jsonl",
    ),
    (
        {"exits": {"status": 0}},
        lambda p: p.drop("rank.exited", group="trial-2", rank=1),
        "trial 2: rank 1: expected status 0, saw no end of it",
        "",
    ),
    ({"exits": {"status": "nonzero", "of": "any"}}, nothing, "a status other than 0", ""),
    (
        {"exits": {"status": 0, "rank": 1, "node": "sweep-master"}},
        nothing,
        "expected status 0, saw no such rank",
        "",
    ),
    (
        {"exits": {"status": 0, "of": 4}},
        four_trials,
        "expected trial 4, saw none: 2 trials began",
        "",
    ),
    ({"duration": {"at_most": 10}}, nothing, "the scenario: expected at most 10 s, saw 20.000", ""),
    ({"duration": {"of": 2, "at_least": 4}}, nothing, "expected at least 4 s, saw 3.000 s", T2),
    ({"duration": {"of": 3, "at_least": 4}}, four_trials, "expected trial 3, saw none", ""),
]


@pytest.mark.parametrize(("item", "spoil", "detail", "where"), FAILING)
def test_what_does_not_hold_fails_and_says_what_was_seen_and_where(
    played: Played, item: Item, spoil: Spoil, detail: str, where: str
) -> None:
    proof(played)
    spoil(played)

    result = judged(played, item)

    assert result.verdict == "failed", result.detail
    assert detail in result.detail
    assert any(where in place for place in result.where or ("",))
    assert result.seen


def test_what_was_expected_and_what_was_seen_are_told_apart(played: Played) -> None:
    result = judged(played, {"score": {"of": 1, "value": 1.0, "within": "10%"}})

    assert result.name == "score of trial 1 is 1 within 10%"
    assert (result.expected, result.seen) == ("1 within 10%", "trial 1 (basic.r.1): 1.5")
    assert result.where == ("trials/basic.r.1/trial.json:5",)
    assert result.detail == (
        "trials/basic.r.1/trial.json:5: trial 1 (basic.r.1): expected 1 within 10%, saw 1.5"
    )


def remove(name: str) -> Spoil:
    return lambda played: (played.folder / name).unlink()


def no_digests(played: Played) -> None:
    played.scenario["workload"] = {"trainer": {"command": "python mine.py"}}
    for file in played.folder.glob("trials/*/*.digest"):
        file.unlink()
    for event in played.events_of("train.finished"):
        del event["digest"]


UNCLEAR: list[tuple[Item, Spoil, str]] = [
    ({"trials": {"completed": 2}}, lambda p: p.write(T2, "{"), "trial.json:1: not JSON"),
    ({"overrides": {}}, lambda p: p.write("trials/basic.r.2/overrides.json", "[]"), "not a map"),
    ({"digests": "equal"}, no_digests, "the trainer told no digests in trial 1 (basic.r.1)"),
    ({"score": {"above": 0}}, lambda p: p.write(T2, "[]"), "trial.json: not a trial"),
    ({"wandb": {"history": 3}}, lambda p: p.wandb("basic.r.2").write_bytes(b"x" * 9), "not an of"),
    ({"api": {"route": NEXT, "calls": 0}}, lambda p: p.calls.clear(), "recorded no call at all"),
    ({"log": {"in_order": ["a", "z"]}}, remove("logs/sweep-worker.log"), "sweep-worker.log is mis"),
    ({"log": {"contains": "epoch", "times": 2}}, remove("logs/sweep-worker.log"), "is missing"),
    (
        {"log": {"contains": "epoch", "times": {"at_most": 9}}},
        lambda p: p.write(
            "logs/sweep-worker.log", "[rank 1] [... 12 lines of rank-1 not forwarded]\n"
        ),
        "the log was cut (logs/sweep-worker.log:1)",
    ),
    ({"events": {"never": "train.step"}}, lambda p: p.events.clear(), "nobody told any event"),
    (
        {"events": {"never": "train.step", "where": {"rank": 5}}},
        nothing,
        "train.step (rank=5) never happened, but nor did anything (rank=5)",
    ),
    (
        {"events": {"happens": "train.step", "where": {"rank": 5}, "times": 0}},
        nothing,
        "train.step (rank=5) never happened, but nor did anything (rank=5)",
    ),
    ({"checkpoint": "loadable"}, remove("checkpoints.json"), "checkpoints.json: No such file"),
    ({"checkpoint": "loadable"}, lambda p: proof(p, "no torch"), "could be asked to load"),
    (
        {"checkpoint": "loadable"},
        lambda p: p.write("checkpoints.json", '{"files": {}}'),
        "nobody tried to load trials/basic.r.1/checkpoint.pt",
    ),
    ({"exits": {"status": 0}}, lambda p: p.drop("rank.exited"), "no rank's end was told in trial"),
    ({"duration": {"of": "sweep", "at_most": 9}}, lambda p: p.seconds.pop("sweep"), "no duration"),
    ({"same_as": "other"}, nothing, "other was not played before this one in the same run"),
]


@pytest.mark.parametrize(("item", "spoil", "detail"), UNCLEAR)
def test_what_cannot_be_told_is_inconclusive(
    played: Played, item: Item, spoil: Spoil, detail: str
) -> None:
    proof(played)
    spoil(played)

    result = judged(played, item)

    assert result.verdict == "inconclusive", result.detail
    assert detail in result.detail


VACUOUS: list[Item] = [
    {"trials": {"failed": 0}},
    {"run_names": {}},
    {"overrides": {}},
    {"digests": "equal"},
    {"digests": "different"},
    {"score": {"at_least": -1e9}},
    {"score": {"of": "best", "at_least": -1e9}},
    {"cost": {"at_least": 0}},
    {"wandb": {"history": {"at_least": 0}}},
    {"events": {"never": "train.step", "each": "trial"}},
    {"events": {"never": "train.step", "where": {"trial": 1}}},
    {"checkpoint": "present"},
    {"checkpoint": "loadable"},
    {"exits": {"status": 0}},
    {"exits": {"status": [0, 1], "of": "any"}},
    {"duration": {"of": "trial", "at_most": 9}},
    {"same_as": "basic"},
]


@pytest.mark.parametrize("item", VACUOUS)
def test_nothing_holds_of_trials_that_never_were(unplayed: Played, item: Item) -> None:
    proof(unplayed)

    assert judged(unplayed, item).verdict in {"failed", "inconclusive"}


@pytest.mark.parametrize("item", [each for each, _, _ in PASSING if "duration" not in each])
def test_nothing_holds_where_nothing_was_left(played: Played, item: Item) -> None:
    evidence = played.evidence(item)
    shutil.rmtree(played.folder)
    played.folder.mkdir()

    result = evaluate(type(evidence)(played.folder, evidence.scenario, ()))[0]

    assert result.verdict in {"failed", "inconclusive"}, result.detail


def test_a_time_between_events_of_one_process_is_that_of_its_own_clock(played: Played) -> None:
    for event, mono in (("run.named", 100.0), ("handoff.sent", 100.25)):
        for found in played.events_of(event, trial=1):
            found.update(pid=7, mono=mono)

    item = {"events": {"in_order": ["run.named", "handoff.sent"], "where": {"trial": 1}}}

    assert "0.250 s by the clock of sweep-master" in judged(played, item).seen


def test_a_nan_is_within_no_bounds(played: Played) -> None:
    played.change(T2, score=float("nan"))

    assert judged(played, {"score": {"of": 2, "at_least": -1e300}}).verdict == "failed"


def test_a_trial_is_the_best_by_the_sweeps_goal(played: Played) -> None:
    played.change(T2, score=0.5)
    item = {"score": {"of": "best", "value": 0.5}}

    assert judged(played, item).verdict == "failed"
    played.scenario["sweep"] = {"goal": "minimize"}
    assert judged(played, item).verdict == "passed"


def test_what_a_file_says_of_names_and_digests_takes_the_standing_checks_place(
    played: Played,
) -> None:
    items: list[dict[str, Any]] = [{"run_names": {"in_order": False}}, {"digests": "different"}]

    names = [result.name for result in evaluate(played.evidence(*items)) if not result.asked_by]

    assert names == [name for name in STANDING if name not in {"run names", "digests"}]


def test_a_command_of_the_users_has_exits_and_wandb_runs_too(played: Played) -> None:
    played.scenario["workload"] = {"run": "python mine.py"}
    for node in (0, 1):
        played.emit("command.exited", node, status=node)

    assert judged(played, {"exits": {"status": 0, "node": "sweep-master"}}).verdict == "passed"
    assert "rank 1: expected status 0" in judged(played, {"exits": {"status": 0}}).detail
    assert judged(played, {"wandb": {"history": 3}}).verdict == "passed"
    assert judged(played, {"wandb": {"history": 4}}).verdict == "failed"


@pytest.fixture
def twins(played: Played) -> Played:
    """A scenario, and another of the same run that did the same."""
    shutil.copytree(played.folder, played.folder / "later")
    other = played.folder / "basic"
    evidence = played.evidence()
    shutil.copytree(played.folder, other, ignore=shutil.ignore_patterns("later", "basic"))
    (other / "scenario.yaml").write_text(to_yaml(evidence.scenario))
    played.folder /= "later"
    return played


SAME = {"same_as": "basic"}


def test_another_scenario_did_the_same(twins: Played) -> None:
    result = judged(twins, SAME)

    assert (result.verdict, result.seen) == ("passed", "2 trials the same, 6 loss values compared")


def history(played: Played) -> None:
    rows = [{"_step": step, "train/loss": loss} for step, loss in enumerate((1.0, 0.505, 1 / 3))]
    played.wandb("basic.r.2", history=rows)


@pytest.mark.parametrize(
    ("spoil", "detail"),
    [
        (change(T2, suggestion={LR: 0.5}), f"suggestion {LR}: expected 0.25, saw 0.5"),
        (change(T2, overrides={LR: 0.25}), "override trainer.total_timesteps: expected 512"),
        (change(T2, score=1.6), "trial 2 (basic.r.2): score: expected 1.5, saw 1.6"),
        (change(T2, status="failed"), "end status: expected 'completed', saw 'failed'"),
        (differ, "digest of rank 1: expected '0000"),
        (history, "train/loss, row 2: expected 0.5, saw 0.505"),
        (lambda p: shutil.rmtree(p.folder / "trials/basic.r.2"), "expected 2, as basic had, saw 1"),
    ],
)
def test_another_scenario_did_something_else(twins: Played, spoil: Spoil, detail: str) -> None:
    spoil(twins)

    result = judged(twins, SAME)

    assert (result.verdict, detail in result.detail) == ("failed", True), result.detail


def test_only_trials_that_completed_are_compared_when_only_those_are_meant(twins: Played) -> None:
    change(T2, status="failed")(twins)
    only = {"same_as": {"scenario": "basic", "of": "completed"}}
    result = judged(twins, only)
    assert (result.verdict, "expected 2, as basic had, saw 1" in result.detail) == ("failed", True)

    other = twins.folder.parent / "basic" / "trials" / "basic.r.2" / "trial.json"
    other.write_text(other.read_text().replace('"completed"', '"failed"'))
    assert judged(twins, only).seen == "1 trial the same, 3 loss values compared"


def test_losses_may_be_close_enough(twins: Played) -> None:
    history(twins)

    assert judged(twins, {"same_as": {"scenario": "basic", "within": "2%"}}).verdict == "passed"
    assert judged(twins, {"same_as": {"scenario": "basic", "within": 0.001}}).verdict == "failed"


@pytest.mark.parametrize(
    ("spoil", "detail"),
    [
        (lambda p: p.scenario.update(seed=7), "seed 42 there, 7 here"),
        (
            lambda p: [p.change(f"trials/basic.r.{n}/trial.json", status="failed") for n in (1, 2)],
            "no trial of this scenario completed",
        ),
    ],
)
def test_there_must_be_something_to_compare(twins: Played, spoil: Spoil, detail: str) -> None:
    spoil(twins)

    result = judged(twins, SAME)

    assert (result.verdict, detail in result.detail) == ("inconclusive", True), result.detail
