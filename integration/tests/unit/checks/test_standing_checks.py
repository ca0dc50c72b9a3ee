"""Each standing check passes where all is well, and fails for each way to be wrong."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from metta_sandbox.checks.evaluation import STANDING, evaluate
from metta_sandbox.checks.trials import results
from metta_sandbox.verdict import Verdict

if TYPE_CHECKING:
    from tests.unit.checks.conftest import Played

Spoil = Callable[["Played"], object]
RUN = "basic.r.2"
TRIAL = f"trials/{RUN}"


def test_all_pass_where_all_is_well(played: Played) -> None:
    found = evaluate(played.evidence())

    assert [result.name for result in found] == list(STANDING)
    assert {result.name: result.detail for result in found if result.verdict != "passed"} == {}
    for result in found:
        assert result.expected
        assert result.where, result.name
        for place in result.where:
            assert (played.folder / place.partition(":")[0]).exists(), place


def test_none_passes_where_no_trial_was_played(unplayed: Played) -> None:
    found = evaluate(unplayed.evidence())

    assert [result.name for result in found if result.verdict is Verdict.PASSED] == []


def test_none_passes_in_an_empty_folder(played: Played) -> None:
    evidence = played.evidence()
    shutil.rmtree(played.folder)
    played.folder.mkdir()
    played.events.clear()

    found = evaluate(type(evidence)(played.folder, evidence.scenario, ()))

    assert [result.name for result in found if result.verdict is Verdict.PASSED] == []


def unlink(name: str) -> Spoil:
    return lambda played: (played.folder / name).unlink()


def update(event: str, change: dict[str, object], **fields: object) -> Spoil:
    return lambda played: [found.update(change) for found in played.events_of(event, **fields)]


def drop_hand_off(played: Played) -> None:
    played.drop("handoff.sent", trial=2)
    played.drop("handoff.received", trial=2)


def second_wandb_run(played: Played) -> None:
    played.wandb(RUN, stamp="20261122_184203", host="sweep-worker")


def damage_checkpoint(played: Played) -> None:
    path = played.folder / TRIAL / "checkpoint.pt"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"step", b"stop"))


def cut_checkpoint(played: Played) -> None:
    path = played.folder / TRIAL / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:-30])


def other_archive(played: Played) -> None:
    with zipfile.ZipFile(played.folder / TRIAL / "checkpoint.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")


def torn_wandb_run(played: Played) -> None:
    path = played.wandb(RUN)
    path.write_bytes(path.read_bytes()[:-3])


def answer_no_name(played: Played) -> None:
    played.calls[:] = [call for call in played.calls if "runs/next" not in call["path"]]


def rename(played: Played) -> None:
    for event in played.events_of("run.named", trial=2):
        event["run"] = "basic.r.7"


OTHER = {"trainer.optimizer.learning_rate": 0.5}

SPOILT: list[tuple[str, Spoil, str]] = [
    ("sweep finished", lambda p: p.drop("rollout.finished", node_rank=0), "never said rollout"),
    ("sweep finished", update("rollout.finished", {"completed": 1}), "1 completed and 0 failed"),
    ("sweep finished", unlink(f"{TRIAL}/trial.json"), "trial 2 began and left no trial.json"),
    (
        "trials",
        lambda p: p.change(f"{TRIAL}/trial.json", status="failed", reason="rank 1 was killed"),
        f"{TRIAL}/trial.json: failed: rank 1 was killed",
    ),
    (
        "hand-off",
        lambda p: p.drop("handoff.received", node_rank=1, trial=2),
        "trial 2 (basic.r.2): rank 0 sent it at +15.000s; sweep-worker never received it",
    ),
    (
        "hand-off",
        update("handoff.received", {"run": "basic.r.9"}, node_rank=1, trial=2),
        "received run 'basic.r.9', rank 0 sent 'basic.r.2'",
    ),
    (
        "hand-off",
        update("handoff.received", {"overrides": OTHER}, node_rank=1),
        "another trainer.optimizer.learning_rate: expected 0.25, saw 0.5",
    ),
    (
        "hand-off",
        update("handoff.received", {"wandb_run_id": "x"}, node_rank=1),
        "received wandb_run_id 'x'",
    ),
    (
        "hand-off",
        lambda p: p.change(f"{TRIAL}/overrides.json", new=1),
        "trials/basic.r.2/overrides.json has another new: expected nothing, saw 1",
    ),
    (
        "hand-off",
        update("suggestion.made", {"suggestion": OTHER}, trial=2),
        "the suggestion is not what was handed off: trainer.optimizer.learning_rate",
    ),
    ("hand-off", lambda p: p.drop("suggestion.made", trial=2), "no suggestion.made"),
    ("hand-off", lambda p: p.drop("handoff.sent", trial=2), "that rank 0 never sent"),
    ("hand-off", lambda p: p.drop("handoff.sent"), "rank 0 never sent a hand-off"),
    (
        "hand-off",
        drop_hand_off,
        "trial 2 was named basic.r.2, and never handed off",
    ),
    ("run names", update("run.named", {"run": "basic.r.1"}), "'basic.r.1' was given to 2 trials"),
    ("run names", update("run.named", {"run": "other.r.2"}, trial=2), "a name like basic.r.1"),
    ("run names", lambda p: p.events_of("run.named")[0].update(run="basic.r.3"), "in order"),
    ("run names", rename, "never gave out 'basic.r.7'"),
    (
        "digests",
        update("train.finished", {"digest": "f" * 64}, rank=1, run=RUN),
        "basic.r.2: train.finished of rank 1 is ffffffffffff",
    ),
    (
        "world size",
        lambda p: p.met({"trial": 2, "rank": 1, "groups": [[0, 1]]}),
        "basic.r.2): process group of rank 1 on sweep-worker: expected 2 ranks, saw 1",
    ),
    ("digests", lambda p: p.write(f"{TRIAL}/rank-0.digest", "e" * 64), "of rank 0 is eeeeeeeeeeee"),
    ("digests", lambda p: p.drop("train.finished", rank=1, run=RUN), "ranks [0, 1], saw [0]"),
    ("digests", unlink(f"{TRIAL}/rank-0.digest"), "ranks [0, 1], saw [1]"),
    ("digests", lambda p: p.write(f"{TRIAL}/rank-2.digest", "e" * 64), "saw [0, 1, 2]"),
    ("digests", lambda p: p.write(f"{TRIAL}/rank-1.digest", "none"), "is no SHA-256: 'none'"),
    ("W&B runs", second_wandb_run, "expected one W&B run of basic.r.2, saw 2"),
    (
        "W&B runs",
        lambda p: shutil.rmtree(p.wandb(RUN).parent),
        "expected one W&B run of basic.r.2, saw 0",
    ),
    ("W&B runs", lambda p: p.wandb("basic.r.9"), "belongs to no trial"),
    ("W&B runs", lambda p: p.wandb(RUN, group="x"), "expected group 'basic', saw 'x'"),
    ("W&B runs", lambda p: p.wandb(RUN, name="x"), "expected name 'basic.r.2', saw 'x'"),
    (
        "W&B runs",
        lambda p: p.wandb(RUN, host="sweep-worker"),
        "from sweep-master, saw sweep-worker",
    ),
    (
        "W&B runs",
        lambda p: p.wandb(RUN, config={}),
        "config: trainer.total_timesteps: expected 512",
    ),
    ("W&B runs", lambda p: p.wandb(RUN, history=[{"_step": 0}]), "1 row without a metric"),
    ("W&B runs", lambda p: p.wandb(RUN, history=[]), "expected a history, saw 0 rows"),
    ("W&B runs", lambda p: p.wandb(RUN, summary={"reward": 2}), "the score 1.5, saw 2"),
    ("W&B runs", lambda p: p.wandb(RUN, summary={}), "the score 1.5, saw none"),
    ("W&B runs", lambda p: p.wandb(RUN, finished=False), "finished with None"),
    ("W&B runs", torn_wandb_run, "saw it cut off"),
    ("checkpoints", unlink(f"{TRIAL}/checkpoint.pt"), f"{TRIAL}/checkpoint.pt: missing"),
    ("checkpoints", damage_checkpoint, "checkpoint/data.pkl in it is damaged"),
    ("checkpoints", cut_checkpoint, "not an archive as torch.save writes it"),
    ("checkpoints", other_archive, "it has no data.pkl"),
    ("API calls", answer_no_name, "expected POST runs/next for each trial"),
    ("API calls", lambda p: p.drop("run.named", trial=2), "basic.r.2 was given out, but no trial"),
    ("API calls", lambda p: p.calls.pop(1), "to be created once, saw 0 times: no such call"),
    ("API calls", lambda p: p.calls.append(p.calls[1]), "to be created once, saw 2 times"),
    (
        "API calls",
        lambda p: p.call("POST", "/stats/policies", None, status=500),
        "broke: POST /stats/policies -> 500 (api/requests.jsonl:5)",
    ),
]


@pytest.mark.parametrize(("check", "spoil", "message"), SPOILT)
def test_a_check_fails_and_says_what_and_where(
    played: Played, check: str, spoil: Spoil, message: str
) -> None:
    spoil(played)

    verdict, detail = played.judged(check)

    assert message in detail
    assert verdict == "failed"


def test_each_check_is_shown_to_fail() -> None:
    assert {check for check, _, _ in SPOILT} == set(STANDING)


BROKEN: list[tuple[str, Spoil, str]] = [
    (
        "sweep finished",
        lambda p: p.write(f"{TRIAL}/trial.json", '{\n"run":'),
        "trial.json:2: not JSON",
    ),
    ("sweep finished", lambda p: p.write(f"{TRIAL}/trial.json", "{}"), "not a trial: run: Field"),
    ("sweep finished", lambda p: p.change(f"{TRIAL}/trial.json", run="x"), "it is of run 'x'"),
    ("hand-off", unlink(f"{TRIAL}/overrides.json"), "overrides.json: No such file"),
    ("hand-off", lambda p: p.write(f"{TRIAL}/overrides.json", "[]"), "not a mapping"),
    ("hand-off", update("handoff.sent", {"overrides": 3}), "the check itself broke: "),
    (
        "W&B runs",
        lambda p: p.wandb(RUN).write_bytes(b"PK something else"),
        "not an offline W&B run",
    ),
    ("API calls", lambda p: p.calls.append({"seq": 9}), "api/requests.jsonl:5: not a recorded"),
]


@pytest.mark.parametrize(("check", "spoil", "message"), BROKEN)
def test_a_broken_file_makes_its_checks_inconclusive_and_no_other(
    played: Played, check: str, spoil: Spoil, message: str
) -> None:
    spoil(played)

    found = {result.name: result for result in evaluate(played.evidence())}

    assert message in found[check].detail
    assert found[check].verdict is Verdict.INCONCLUSIVE
    assert Verdict.PASSED in {result.verdict for result in found.values()}
    assert "Traceback" not in found[check].detail


def test_a_retried_call_that_gets_the_same_name_is_no_second_name(played: Played) -> None:
    played.calls.append(played.calls[-1])

    assert played.judged("API calls")[0] == played.judged("run names")[0] == "passed"


def test_a_sweep_that_was_there_need_not_be_created(played: Played) -> None:
    played.calls.pop(1)
    played.calls[0]["response"] = {"exists": True, "wandb_sweep_id": "w"}

    assert played.judged("API calls")[0] == "passed"


def test_the_host_name_of_a_machine_tells_nothing_about_ranks(played: Played) -> None:
    played.wandb(RUN, host="my-laptop")

    assert played.judged("W&B runs")[0] == "passed"


def test_a_failed_trial_needs_no_digest_checkpoint_or_score(played: Played) -> None:
    played.change(f"{TRIAL}/trial.json", status="failed", score=None, reason="rank 1 was killed")
    played.drop("train.finished", run=RUN)
    for name in ("checkpoint.pt", "rank-0.digest", "rank-1.digest"):
        unlink(f"{TRIAL}/{name}")(played)
    played.wandb(RUN, history=[], summary={}, finished=False)
    update("rollout.finished", {"completed": 1, "failed": 1}, node_rank=0)(played)

    found = evaluate(played.evidence({"trials": {"failed": 1}}))

    assert {result.name: result.detail for result in found if result.verdict != "passed"} == {}


def test_many_problems_are_cut(played: Played) -> None:
    played.change(f"{TRIAL}/overrides.json", **{f"key-{number}": number for number in range(30)})

    detail = played.judged("hand-off")[1]

    assert len(detail.splitlines()) == 11
    assert detail.endswith("and 20 more")


def test_trials_are_listed_as_they_began_even_if_one_left_no_record(played: Played) -> None:
    unlink(f"{TRIAL}/trial.json")(played)
    played.emit("suggestion.made", 0, trial=3, suggestion={})

    listed = [(one.run, one.status, one.score) for one in results(played.evidence())]

    assert listed == [
        ("basic.r.1", "completed", 1.5),
        ("basic.r.2", "pending", None),
        ("", "pending", None),
    ]
    played.write("trials/basic.r.1/trial.json", "broken")
    assert [one.status for one in results(played.evidence())] == ["pending"] * 3
    assert json.loads(results(played.evidence())[0].model_dump_json())["run"] == "basic.r.1"


def test_equal_digests_are_shown_by_the_files_of_all_ranks(played: Played) -> None:
    result = next(each for each in evaluate(played.evidence()) if each.name == "digests")
    assert result.where == tuple(
        f"trials/basic.r.{trial}/rank-{rank}.digest" for trial in (1, 2) for rank in (0, 1)
    )
