"""Whether the ranks of a trial met, and how that is told."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError
from rich.console import Console

from metta_sandbox.autopsy.seen import RecordedGroup, RecordedLife
from metta_sandbox.checks.evaluation import evaluate
from metta_sandbox.checks.world_size import ranks_of
from metta_sandbox.report import summary
from metta_sandbox.report.console import Reporter
from metta_sandbox.report.results import CheckResult, RunResult, ScenarioResult
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.verdict import Verdict

if TYPE_CHECKING:
    from tests.unit.checks.conftest import Played

NAME = "world size"
NEVER = [{"trial": trial, "rank": node} for trial in (1, 2) for node in (0, 1)]


def world(trial: int, *groups: list[list[int]], places: int = 1) -> list[dict[str, Any]]:
    return [
        {"trial": trial, "rank": rank, "groups": each, "node": f"sweep-{rank // places}"}
        for rank, each in enumerate(groups)
    ]


def judged(played: Played, **trainer: object) -> CheckResult:
    command = {"command": ["python", "train.py"], **trainer}
    played.scenario["workload"] = {"trainer": command}
    return next(each for each in evaluate(played.evidence()) if each.name == NAME)


def test_ranks_that_met_are_as_they_must_be(played: Played) -> None:
    found = judged(played)
    assert (found.verdict, found.warning, found.where) == (Verdict.PASSED, "", ("groups.json",))


def test_each_rank_alone_is_a_failure(played: Played) -> None:
    played.met(*world(1, [[0, 2]], [[1, 2]]), *world(2, [[0, 1]], [[0, 1]]))
    found = judged(played)
    assert found.verdict is Verdict.FAILED
    for rank, node in ((0, "sweep-0"), (1, "sweep-1")):
        told = f"trial 2 (basic.r.2): process group of rank {rank} on {node}: expected 2 ranks"
        assert f"{told}, saw 1" in found.detail
    assert "trial 1" not in found.detail


def test_a_group_beside_the_one_of_all_is_no_matter(played: Played) -> None:
    played.met(*world(1, [[0, 1], [0, 2]], [[1, 2], [0, 1]]))
    assert judged(played).verdict is Verdict.PASSED


def test_ranks_that_never_met_are_warned_of_and_pass(played: Played) -> None:
    played.met(*NEVER)
    found = judged(played)
    assert found.verdict is Verdict.PASSED
    assert found.warning == (
        "no rank of 2 completed trials formed a process group, and 2 ranks were asked for; "
        "if that is meant, say workload.trainer.world_size: any"
    )
    played.met(*NEVER[:2], *world(2, [[0, 2]], [[1, 2]]))
    assert "no rank of trial 1 (basic.r.1) formed" in judged(played).warning


def below_run(*formed: tuple[str, list[int]]) -> list[dict[str, Any]]:
    return [{"trial": None, "rank": group[0], "groups": [group], "node": n} for n, group in formed]


def test_nodes_that_each_met_alone_below_a_command_are_warned_of(played: Played) -> None:
    played.scenario["workload"] = {"run": "torchrun train.py"}

    def warning(*formed: tuple[str, list[int]]) -> str:
        played.met(*below_run(*formed))
        found = next(each for each in evaluate(played.evidence()) if each.name == NAME)
        assert found.verdict is Verdict.PASSED
        return found.warning

    alone = warning(("sweep-0", [0, 1]), ("sweep-1", [0, 1]))
    assert alone == "sweep-0 and sweep-1 each formed a process group of 1 rank of their own"
    assert not warning(("sweep-0", [0, 2]), ("sweep-1", [1, 2]))
    # After a restart the ranks may have other numbers.
    again = (("sweep-1", [0, 3]), ("sweep-0", [1, 3]), ("sweep-2", [2, 3]))
    assert not warning(("sweep-0", [0, 3]), ("sweep-1", [1, 3]), ("sweep-2", [2, 3]), *again)
    both = warning(*((f"sweep-{node}", [rank, 2]) for node in (0, 1) for rank in (0, 1)))
    assert both == "sweep-0 and sweep-1 each formed a process group of 2 ranks of their own"


def test_one_rank_alone_need_not_meet_anybody(played: Played) -> None:
    played.scenario["nodes"] = 1
    played.met(*NEVER[::2])
    assert judged(played).warning == ""


def test_of_what_nobody_could_listen_to_nothing_is_said(played: Played) -> None:
    (played.folder / "groups.json").unlink()
    found = judged(played)
    assert (found.verdict, found.warning) == (Verdict.PASSED, "")


def test_whoever_means_it_says_so(played: Played) -> None:
    alone = [*world(1, [[0, 1]], [[0, 1]]), *world(2, [[0, 1]], [[0, 1]])]
    played.met(*alone)
    assert judged(played, world_size=1).verdict is Verdict.PASSED
    assert judged(played, world_size=2).verdict is Verdict.FAILED
    played.scenario["workload"] = {"trainer": {"command": ["a"], "world_size": "any"}}
    assert NAME not in [each.name for each in evaluate(played.evidence())]
    # A number is a promise, which a trial that never formed a group breaks.
    played.met(*NEVER)
    assert judged(played, world_size=2).verdict is Verdict.FAILED


@pytest.mark.parametrize("size", [0, -1, "all", 1.5, True])
def test_sizes_that_make_no_sense_are_refused(size: object) -> None:
    trainer = {"command": ["a"], "world_size": size}
    with pytest.raises(ValidationError):
        Scenario.model_validate({"version": 1, "name": "a", "workload": {"trainer": trainer}})


def test_who_starts_its_ranks_itself_has_as_many_as_it_likes(played: Played) -> None:
    played.met(*world(1, *([[rank, 4]] for rank in range(4)), places=2))
    assert judged(played, launcher="own").verdict is Verdict.PASSED
    # Two worlds of two, one on each node, whose size is that of two nodes by chance.
    apart = world(1, [[0, 2]], [[1, 2]], [[0, 2]], [[1, 2]], places=2)
    played.met(*apart)
    found = judged(played, launcher="own")
    assert found.verdict is Verdict.FAILED
    assert "process groups of 2 ranks: expected one on all nodes, saw one each on" in found.detail


def test_what_processes_told_is_picked_apart() -> None:
    def life(
        pid: int, environ: dict[str, str], *groups: RecordedGroup, **more: Any
    ) -> RecordedLife:
        return RecordedLife(pid=pid, environ=environ, groups=groups, **more)

    trial = {"METTA_TRIAL": "3", "METTA_RUN_ID": "a.r.3"}
    whole = RecordedGroup(name="0", size=2, rank=1, done_time=2.0)
    found = ranks_of(
        {
            "sweep-master": (
                life(1, {"RANK": "0"}, whole),  # no trial's, as the rollout's own
                life(2, trial),  # a launcher
                life(
                    3, {**trial, "RANK": "0"}, RecordedGroup(name="0", size=2, rank=0)
                ),  # still waits
                life(4, trial, whole, RecordedGroup(name="1", size=1, rank=-1, done_time=3.0)),
                life(5, trial, whole, changed={"RANK": "1"}),
            )
        }
    )
    assert [(one.pid, one.trial, one.rank, one.groups) for one in found] == [
        (1, None, 0, ((1, 2),)),
        (3, 3, 0, ()),
        (4, 3, 1, ((1, 2),)),
        (5, 3, 1, ((1, 2),)),
    ]


@pytest.mark.parametrize("quiet", [False, True])
def test_a_warning_stands_in_the_headline_also_of_a_quiet_run(quiet: bool) -> None:
    check = CheckResult(name=NAME, verdict=Verdict.PASSED, warning="no rank met any")
    result = ScenarioResult(
        name="mine",
        file="mine.yaml",
        verdict=Verdict.PASSED,
        engine="process",
        nodes=2,
        seconds=3.0,
        checks=(check,),
    )
    shown = io.StringIO()
    Reporter(quiet=quiet, console=Console(file=shown, width=200)).scenario(result)
    assert shown.getvalue().splitlines() == [
        "PASSED mine  2 nodes on process, 3.0 s  warning: no rank met any"
    ]
    run = RunResult(
        run="r", verdict=Verdict.PASSED, engine="process", seconds=3.0, scenarios=(result,)
    )
    assert "- ⚠️ **mine**: no rank met any\n" in summary.render(run, Path("artifacts"))
