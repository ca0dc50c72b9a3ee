"""What single executors do, and what their probes take for proof."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from metta_sandbox.errors import StackError
from metta_sandbox.scenario.faults.answers import MisguideApi
from metta_sandbox.scenario.faults.executor import Executor
from metta_sandbox.scenario.faults.kinds.api import ApiFault
from metta_sandbox.scenario.faults.kinds.corrupt import CorruptFault, CorruptFile, damage
from metta_sandbox.scenario.faults.kinds.exit import ExitFault, ExitRank
from metta_sandbox.scenario.faults.kinds.kill import KillFault, KillNode
from metta_sandbox.scenario.faults.kinds.nan_gradients import NanGradientsFault, PoisonGradients
from metta_sandbox.scenario.faults.kinds.overrides import OtherOverridesFault, StartOtherwise
from metta_sandbox.scenario.faults.kinds.pause import PauseFault, PauseNode
from metta_sandbox.scenario.faults.kinds.raise_exception import RaiseFault, RaiseInRank
from metta_sandbox.scenario.faults.kinds.restart import RestartFault, RestartNode
from metta_sandbox.scenario.faults.kinds.run_name import NameWrongly, RunNameFault
from metta_sandbox.scenario.faults.kinds.signal_process import SignalFault, SignalProcess
from metta_sandbox.scenario.faults.kinds.skip_collective import (
    SkipCollectiveFault,
    SkipCollectiveInRank,
)
from metta_sandbox.scenario.faults.kinds.terminate import TerminateFault, TerminateNode
from metta_sandbox.scenario.faults.kinds.wandb_folder import BlockWandbFolder, WandbFolderFault


def make(kind: Any, said: Any, **context: Any) -> Any:
    return kind("f", said, SimpleNamespace(**context))


def happened(**fields: Any) -> dict[str, Any]:
    return {"type": "event", "record": {"event": "fault.happened", "fault": "f", **fields}}


def exited(rank: int, status: int) -> dict[str, Any]:
    return {"type": "rank-exited", "rank": rank, "status": status}


@pytest.mark.parametrize(
    ("kind", "said", "good", "bad"),
    [
        (RaiseInRank, RaiseFault(rank=1), {"raised": "RuntimeError"}, {"raised": "KeyError"}),
        (
            PoisonGradients,
            NanGradientsFault(rank=1),
            {"nan_before": 0, "nan": 3},
            {"nan_before": 3, "nan": 3},
        ),
        (SkipCollectiveInRank, SkipCollectiveFault(rank=1), {"skipped": "allreduce"}, {}),
        (
            StartOtherwise,
            OtherOverridesFault(rank=1, trial=1, values={"a": 1}),
            {"handed_off": {"a": 2}, "started_with": {"a": 1}},
            {"handed_off": {"a": 1}, "started_with": {"a": 1}},
        ),
    ],
)
def test_only_what_was_asked_for_is_proof(
    kind: type[Executor[Any]], said: Any, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    for told, holds in ((good, True), (bad, False)):
        executor = make(kind, said)
        assert not executor.during().holds
        other = happened(**good)
        other["record"]["fault"] = "another"
        executor.take(other)
        assert not executor.during().holds
        executor.take(happened(**told))
        assert executor.during().holds is holds


@pytest.mark.parametrize(
    ("rank", "status", "holds"), [(1, 3, True), (1, 1, False), (1, 0, False), (0, 3, False)]
)
def test_an_exit_is_the_ranks_own_with_the_status(rank: int, status: int, holds: bool) -> None:
    executor = make(ExitRank, ExitFault(rank=1, status=3))
    executor.take(happened())
    executor.take(exited(rank, status))

    assert executor.during().holds is holds


class Power:
    """One node, in a state."""

    def __init__(self, state: str = "runs") -> None:
        self.now = state

    def state(self, _: str) -> str:
        return self.now

    def signal(self, _: str, number: int) -> None:
        self.now = f"was killed by signal {int(number)}"

    def freeze(self, _: str) -> None:
        self.now = "stands still"

    def thaw(self, _: str) -> None:
        self.now = "runs"


def test_a_node_is_dead_only_by_the_signal() -> None:
    for end, holds in (("was killed by signal 9", True), ("exited with status 0", False)):
        power = Power()
        kill = make(KillNode, KillFault(node="sweep-worker"), power=power)
        assert kill.before().holds
        kill.inject()
        power.now = end
        assert kill.during().holds is holds
        assert not kill.before().holds


def test_a_node_that_was_paused_is_thawed_once() -> None:
    power = Power()
    pause = make(PauseNode, PauseFault(node="sweep-worker"), still=set(), power=power)
    pause.inject()
    assert pause.during().holds
    pause.heal()
    assert pause.after().holds
    power.now = "exited with status 1"
    pause.heal()
    assert power.now == "exited with status 1"


@pytest.mark.parametrize(
    ("number", "status", "state", "holds"),
    [(9, -9, "", True), (9, -15, "", False), (9, None, "S", False), (19, None, "T", True)],
)
def test_a_signal_is_proven_by_what_it_does(
    number: int,
    status: int | None,
    state: str,
    holds: bool,
) -> None:
    rank = {"rank": 1, "pid": 7, "status": status}
    executor = make(
        SignalProcess,
        SignalFault(rank=1, number=number),
        host_of=lambda _: "sweep-worker",
        trainer=lambda _: {**rank, "status": None},
        groups=lambda _: [{"group": "trial-1", "ranks": [rank]}],
        state_of=lambda *_: state,
    )
    executor.before()

    assert executor.during().holds is holds


@pytest.mark.parametrize(
    ("before", "after", "status", "holds"),
    [
        (["caught"], ["caught"], None, True),
        (["caught"], ["caught"], 1, True),
        (["caught", "blocked"], ["caught", "blocked", "pending"], None, False),
        (["ignored"], ["ignored"], None, False),
        ([], [], 1, False),
        ([], [], -15, True),
    ],
)
def test_a_signal_is_proven_by_its_handler(
    before: list[str], after: list[str], status: int | None, holds: bool
) -> None:
    group = {"group": "sweep", "pid": 7, "status": None}
    told = iter([before, after])
    executor = make(
        SignalProcess,
        SignalFault(rollout="sweep-worker", number=15),
        command=lambda _: group,
        state_of=lambda *_: "S",
        ask=lambda *_, **__: next(told),
    )
    assert executor.before().holds
    group["status"] = status

    assert executor.during().holds is holds


@pytest.mark.parametrize("killed", [[], ["sweep"]])
def test_a_node_that_got_notice_has_ended_once_it_says_so(killed: list[str]) -> None:
    power, asked = Power(), []
    terminate = make(
        TerminateNode,
        TerminateFault(node="sweep-worker", grace=30.0),
        power=power,
        ask=lambda *args, **more: asked.append((*args, more)),
    )
    assert terminate.before().holds
    terminate.inject()
    assert asked == [("sweep-worker", "notice", {"grace": 30.0})]
    assert terminate.patience > 30
    assert not terminate.during().holds

    told = {"event": "node.ended", "seconds": 6.25, "killed": killed}
    terminate.take({"type": "event", "node": "sweep-master", "record": told})
    assert not terminate.during().holds
    terminate.take({"type": "event", "node": "sweep-worker", "record": told})
    assert not terminate.during().holds
    power.now = "exited with status 0"
    seen = terminate.during()
    how = "SIGKILL after 6.2 s to what still ran" if killed else "all had ended after 6.2 s"
    assert (seen.holds, seen.seen) == (True, f"sweep-worker exited with status 0; {how}")


def test_damage_leaves_what_it_says() -> None:
    whole = bytes(range(256)) * 4

    assert damage(whole, "half") == whole[:512]
    assert damage(whole, "empty") == b""
    garbage = damage(whole, "garbage")
    assert (len(garbage), garbage[:300]) == (1024, whole[:300])
    assert garbage != whole
    assert damage(b"ab", "garbage") not in (b"ab", b"")


def test_a_file_is_damaged_and_healed_unless_it_was_written_anew(tmp_path: Path) -> None:
    folder = tmp_path / "trials" / "x.r.1"
    folder.mkdir(parents=True)
    file = folder / "checkpoint.pt"
    file.write_bytes(b"whole" * 100)
    plan = SimpleNamespace(run_folder=tmp_path)
    corrupt = make(CorruptFile, CorruptFault(file="checkpoint.pt"), plan=plan)
    corrupt.moment = {"run": "x.r.1"}

    assert corrupt.before().holds
    corrupt.inject()
    assert corrupt.during().holds
    corrupt.heal()
    assert corrupt.after().holds
    assert file.read_bytes() == b"whole" * 100
    corrupt.inject()
    file.write_bytes(b"another")
    corrupt.heal()
    assert file.read_bytes() == b"another"


def test_an_empty_file_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "trials" / "r").mkdir(parents=True)
    (tmp_path / "trials" / "r" / "f").touch()
    corrupt = make(CorruptFile, CorruptFault(file="f"), plan=SimpleNamespace(run_folder=tmp_path))
    corrupt.moment = {"run": "r"}
    assert not corrupt.before().holds
    corrupt.inject()
    assert not corrupt.during().holds


@pytest.mark.parametrize("there", [True, False])
def test_wandbs_folder_is_blocked_also_for_root_and_comes_back(
    tmp_path: Path,
    there: bool,
) -> None:
    folder = tmp_path / "wandb"
    if there:
        folder.mkdir()
        (folder / "run").touch()
    block = make(BlockWandbFolder, WandbFolderFault(), plan=SimpleNamespace(run_folder=tmp_path))
    assert block.before().holds
    assert not block.during().holds
    block.inject()
    assert block.during().holds
    block.heal()
    assert block.after().holds
    assert (folder / "run").exists() is there


def call(**fields: Any) -> dict[str, Any]:
    record = {"event": "api.request", "method": "POST", "route": "/stats/policies", **fields}
    return {"type": "event", "record": {"fault": "f", "status": 200, "seconds": 0.1, **record}}


@pytest.mark.parametrize(
    ("said", "fields", "holds"),
    [
        ({"status": 503}, {"status": 503}, True),
        ({"status": 503}, {"status": 200}, False),
        ({"delay": 1.0}, {"seconds": 1.01}, True),
        ({"delay": 1.0}, {"seconds": 0.2}, False),
        ({"drop": True}, {"dropped": True, "status": None}, True),
        ({"drop": True}, {}, False),
        ({"status": 503}, {"status": 503, "fault": "another"}, False),
    ],
)
def test_a_call_proves_what_it_got(
    said: dict[str, Any],
    fields: dict[str, Any],
    holds: bool,
) -> None:
    api = make(MisguideApi, ApiFault(route="POST /stats/policies", **said))
    assert not api.during().holds
    api.take(call(**fields))

    assert api.during().holds is holds


@pytest.mark.parametrize(
    ("give", "names", "holds"),
    [
        ("skipped", ["x.r.1", "x.r.3"], True),
        ("skipped", ["x.r.1", "x.r.2"], False),
        ("duplicate", ["x.r.1", "x.r.1"], True),
        ("duplicate", ["x.r.1", "x.r.2"], False),
    ],
)
def test_names_prove_whether_one_is_missing_or_doubled(
    give: Any,
    names: list[str],
    holds: bool,
) -> None:
    executor = make(NameWrongly, RunNameFault(give=give))
    executor.take(call(route="/sweeps/{name}/runs/next"))
    for name in names:
        executor.take({"type": "event", "record": {"event": "run.named", "run": name}})

    assert executor.during().holds is holds


class Machine:
    """A node that can be started again, and whose agent may stay away."""

    def __init__(self, *, answers: bool) -> None:
        self.now = "runs"
        self.answers = answers

    def state(self, _host: str) -> str:
        return self.now

    def signal(self, _host: str, number: int) -> None:
        self.now = f"was killed by signal {number}"

    def start(self, _host: str) -> None:
        assert self.now != "runs"
        self.now = "runs"

    def groups(self, _host: str) -> list[Any]:
        if self.now == "runs" and not self.answers:
            raise StackError("no agent of node sweep-worker is connected")
        return []


@pytest.mark.parametrize("answers", [True, False])
def test_a_node_has_restarted_when_its_agent_answers(answers: bool) -> None:
    machine = Machine(answers=answers)
    restart = make(
        RestartNode, RestartFault(node="sweep-worker"), power=machine, groups=machine.groups
    )
    assert restart.before().holds
    restart.inject()
    assert restart.during().holds
    restart.heal()
    restart.heal()

    assert restart.after().holds is answers
