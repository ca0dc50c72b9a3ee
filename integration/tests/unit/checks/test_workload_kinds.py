"""Checks that depend on what ran: trainers and commands of the user's own, prescribed answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metta_sandbox.checks.evaluation import STANDING, evaluate, standing

if TYPE_CHECKING:
    from tests.unit.checks.conftest import Played

OWN = {"trainer": {"command": ["python", "train.py"]}}
NEXT = "POST /sweeps/{name}/runs/next"
RULE = {"route": NEXT, "call": 2, "status": 503}


def test_two_ranks_a_node_have_four_digests(played: Played) -> None:
    played.scenario["workload"] = {"trainer": {"ranks_per_node": 2}}

    assert played.judged("digests")[0] == "failed"
    assert "expected train.finished of ranks [0, 1, 2, 3]" in played.judged("digests")[1]


def test_a_logs_ranks_are_those_of_its_node(played: Played) -> None:
    played.scenario["workload"] = {"trainer": {"ranks_per_node": 2}}
    played.write("trials/basic.r.1/rank-2.log", "I am the third\n")
    expect = {"log": {"contains": "the third", "on": "sweep-worker"}}

    assert evaluate(played.evidence(expect))[0].verdict.value == "passed"
    other = {"log": {"contains": "the third", "on": "sweep-master"}}
    assert evaluate(played.evidence(other))[0].verdict.value == "failed"


def test_a_trainer_of_ones_own_needs_no_digest_checkpoint_or_history(played: Played) -> None:
    played.scenario["workload"] = OWN
    for run in ("basic.r.1", "basic.r.2"):
        for name in ("rank-0.digest", "rank-1.digest", "checkpoint.pt"):
            (played.folder / "trials" / run / name).unlink()
        played.wandb(run, history=[])
    played.drop("train.finished")

    results = evaluate(played.evidence())

    assert {result.verdict.value for result in results} == {"passed", "skipped"}, results
    assert "checkpoints" not in [result.name for result in results]
    assert played.judged("digests")[0] == "skipped"


def test_digests_that_it_tells_are_compared(played: Played) -> None:
    played.scenario["workload"] = OWN
    played.write("trials/basic.r.2/rank-1.digest", "f" * 64)

    assert played.judged("digests")[0] == "failed"


def test_under_a_command_of_ones_own_its_status_counts(unplayed: Played) -> None:
    unplayed.scenario["workload"] = {"run": "true"}
    unplayed.emit("command.exited", 0, status=0)

    results = evaluate(unplayed.evidence())

    assert [result.name for result in results] == ["commands", "world size", "progress"]
    assert results[0].verdict.value == "failed"
    assert "sweep-worker: expected exit status 0, saw no end" in results[0].detail
    unplayed.emit("command.exited", 1, status=0)
    assert unplayed.judged("commands")[0] == "passed"


def test_a_prescribed_refusal_is_no_breakdown(played: Played) -> None:
    path = "/sweeps/basic/runs/next"
    played.call("POST", path, None, 503)
    assert played.judged("API calls")[0] == "failed"

    played.calls[-1].update(scripted=True, rule=1)
    played.scenario["services"] = {"api": [RULE]}

    assert played.judged("API calls")[0] == "passed"
    assert played.judged("scripted answers") == ("passed", "1 answer given as prescribed")


def test_a_prescription_that_never_happened_proves_nothing(played: Played) -> None:
    played.scenario["services"] = {"api": [{**RULE, "call": 9}]}

    verdict, detail = played.judged("scripted answers")

    assert verdict == "inconclusive"
    assert f"services.api[0] never happened: {NEXT} call 9: 503; that route had 2 calls" in detail


def test_a_name_that_got_lost_on_its_way_was_given_out(played: Played) -> None:
    path = "/sweeps/basic/runs/next"
    played.call("POST", path, {"run_id": "basic.r.3"}, None)
    assert played.judged("API calls")[0] == "passed"

    played.calls[-1].update(scripted=True, dropped=True, rule=1)

    verdict, detail = played.judged("API calls")
    assert (verdict, "basic.r.3 was given out, but no trial took it" in detail) == ("failed", True)


def test_the_bundled_workload_has_every_standing_check(played: Played) -> None:
    assert standing(played.evidence().scenario) == STANDING


def test_an_upload_that_was_not_read_is_a_line(played: Played) -> None:
    path = "/stats/episodes/bulk_upload/complete"
    played.call("POST", path, {"episodes_created": 2})
    assert "API routes" not in {each.name for each in evaluate(played.evidence())}
    played.call("POST", path, {"episodes_created": 0, "lacks": "no duckdb: pip install duckdb"})
    played.call("GET", "/stats/episodes/e", {"lacks": "what a node has sent"})

    (found,) = (each for each in evaluate(played.evidence()) if each.name == "API routes")

    assert found.verdict.value == "passed"
    assert found.warning == f"POST {path}: no duckdb: pip install duckdb"


def test_a_call_of_what_the_control_plane_lacks_is_a_line(played: Played) -> None:
    played.call("GET", "/dashboard/saved", {"detail": "Not Found"}, 404)
    played.calls[-1]["route"] = None
    played.call("PUT", "/whoami", {"detail": "Method Not Allowed"}, 405)

    (found,) = (each for each in evaluate(played.evidence()) if each.name == "API routes")

    assert found.verdict.value == "passed"
    assert found.warning == (
        "asked for GET /dashboard/saved, which the stand-in does not have; "
        "asked for PUT /whoami, which the stand-in does not have"
    )
    assert found.where == ("api/requests.jsonl:5", "api/requests.jsonl:6")
