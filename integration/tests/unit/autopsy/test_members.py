"""Which processes are ranks, whoever started them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.diagnose import diagnose
from metta_sandbox.autopsy.members import Tree
from metta_sandbox.autopsy.seen import (
    Frame,
    NodeLook,
    Process,
    Raised,
    RaisedOne,
    Reaped,
    RecordedGroup,
    RecordedLife,
    Thread,
    ThreadEnd,
)
from metta_sandbox.autopsy.words import Exc
from metta_sandbox.timeline.recording import Event

HOSTS = ("sweep-master", "sweep-worker")
WAITS = (Frame(function="main", file="/work/train.py", line=9, source="time.sleep(9)"),)


def process(pid: int, parent: int, *command: str, **environ: str) -> Process:
    thread = Thread(name="MainThread", id=pid, frames=WAITS) if "python" in command[0] else Thread()
    return Process(
        pid=pid, parent=parent, command=command, environ=environ, threads=(thread,), state="S"
    )


def run(*processes: Process, lives: tuple[RecordedLife, ...] = ()) -> Case:
    looks = {HOSTS[0]: NodeLook(processes=processes)}
    return Case(HOSTS, 1, (), looks=looks, lives={HOSTS[0]: lives}, script=True)


def on_master(case: Case) -> list[tuple[int, int | None]]:
    found = [one for one in case.members if one.node == HOSTS[0]]
    return [(one.rank, one.process.pid if one.process else None) for one in found]


def test_ranks_of_torchrun_are_below_it() -> None:
    node = {"RANK": "0", "LOCAL_RANK": "0"}
    elastic = {"TORCHELASTIC_RUN_ID": "x"}
    case = run(
        process(1, 0, "bash", "-c", "torchrun train.py", **node),
        process(2, 1, "/usr/bin/python3", "/usr/bin/torchrun", "train.py", **node),
        process(3, 2, "python", "train.py", **elastic, RANK="0", LOCAL_RANK="0"),
        process(4, 2, "python", "train.py", **elastic, RANK="1", LOCAL_RANK="1"),
        process(5, 4, "python", "train.py", **elastic, RANK="1", LOCAL_RANK="1"),
    )
    assert on_master(case) == [(0, 3), (1, 4)]


def test_a_shell_hides_its_python() -> None:
    case = run(process(1, 0, "bash", "train.sh"), process(2, 1, "python", "train.py"))
    assert on_master(case) == [(0, 2)]


def test_a_parent_that_only_spawns_is_no_rank_also_when_its_children_are_gone() -> None:
    lives = (
        RecordedLife(
            pid=2, argv=("train.py",), reaped=(Reaped(pid=3, status=-6), Reaped(pid=4, status=1))
        ),
        *(
            RecordedLife(pid=pid, parent=2, groups=(RecordedGroup(rank=pid - 3, size=2),))
            for pid in (3, 4)
        ),
    )
    parent = process(2, 1, "python", "train.py", LOCAL_RANK="0", RANK="0")
    case = run(process(1, 0, "bash", LOCAL_RANK="0", RANK="0"), parent, lives=lives)
    assert on_master(case) == [(0, None), (1, None)]
    assert [one.status for one in case.members if one.node == HOSTS[0]] == [-6, 1]


def test_of_a_parent_that_tells_how_its_child_ended_the_child_is_the_rank() -> None:
    def raised(kind: str) -> Raised:
        return Raised(chain=(RaisedOne(kind=kind, message="", frames=()),))

    exited = raised("torch.multiprocessing.spawn.ProcessExitedException")
    parent = RecordedLife(
        pid=2, argv=("spawned.py",), exception=exited, reaped=(Reaped(pid=3, status=1),)
    )
    lost = ThreadEnd(name="fit", exception=raised("SyntaxError"))
    child = RecordedLife(
        pid=3, parent=2, argv=("-c", "spawn_main()"), threads=(lost,), exits=1, ended=6.0
    )
    case = run(process(1, 0, "bash", "train.sh"), lives=(parent, child))
    (rank,) = [one for one in case.members if one.node == HOSTS[0]]
    assert (rank.status, rank.error and rank.error.kind) == (1, "SyntaxError")


def test_of_ranks_that_share_a_log_one_that_a_signal_ended_did_not_raise_what_is_in_it() -> None:
    elastic = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_RANK": "0"}
    launcher = ("/usr/bin/torchrun",)
    reaped = (Reaped(pid=4, status=-14, time=5.0), Reaped(pid=3, status=1, time=5.2))
    lives = (
        RecordedLife(pid=2, argv=launcher, reaped=reaped, ended=5.3),
        *(
            RecordedLife(pid=pid, parent=2, environ={**elastic, "RANK": str(pid - 3)})
            for pid in (3, 4)
        ),
    )
    left = Exc("RuntimeError", "Connection closed by peer", "train.py:21", "main", "all_reduce")
    case = run(process(1, 0, "bash", "train.sh"), lives=lives)
    case = replace(case, rollout_errors={HOSTS[0]: left})
    cause = diagnose(case)
    assert cause is not None
    assert (cause.rank, cause.certainty) == (1, "certain")
    assert "was killed by signal 14 (SIGALRM)" in cause.sentence


def test_processes_of_a_shells_loop_are_told_apart_by_what_it_gave_them() -> None:
    case = run(
        process(1, 0, "bash", "train.sh", RANK="0", LOCAL_RANK="0"),
        *(process(2 + n, 1, "python", "train.py", RANK=str(n), LOCAL_RANK=str(n)) for n in (1, 2)),
    )
    assert on_master(case) == [(1, 3), (2, 4)]


def test_what_a_launcher_started_again_counts_for_itself() -> None:
    first = {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "TORCHELASTIC_RESTART_COUNT": "0"}
    again = {**first, "TORCHELASTIC_RESTART_COUNT": "1"}
    lives = (
        RecordedLife(
            pid=2, argv=("/usr/bin/torchrun",), reaped=(Reaped(pid=3, status=1, time=5.0),)
        ),
        RecordedLife(pid=3, parent=2, environ=first),
    )
    case = run(
        process(2, 1, "python", "/usr/bin/torchrun", "train.py"),
        process(4, 2, "python", "train.py", **again),
        lives=lives,
    )
    (failed,) = [one for one in case.members if one.node == HOSTS[0]]
    assert (failed.generation, failed.status, failed.process) == (0, 1, None)


def test_one_that_had_told_of_its_end_before_it_was_looked_at_has_ended() -> None:
    elastic = {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "LOCAL_RANK": "0"}
    launcher = process(2, 1, "python", "/usr/bin/torchrun", "train.py")
    # Its interpreter was at its end, and had no stack any more.
    ending = process(3, 2, "python", "train.py", **elastic).model_copy(update={"threads": ()})
    reaps = RecordedLife(
        pid=2, argv=("/usr/bin/torchrun",), reaped=(Reaped(pid=3, status=5, time=7.0),)
    )
    told = RecordedLife(pid=3, parent=2, environ=elastic, exits=5, ended=6.0)

    def status(looked_at: float) -> int | None:
        look = NodeLook(processes=(launcher, ending), time=looked_at)
        case = Case(
            HOSTS, 1, (), looks={HOSTS[0]: look}, lives={HOSTS[0]: (reaps, told)}, script=True
        )
        (rank,) = [one for one in case.members if one.node == HOSTS[0]]
        return rank.status

    assert status(6.5) == 5
    # Ended later, it lived then, though nothing of it could be read.
    assert status(5.0) is None


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_last_words_of_a_log_are_nobodys_where_several_ranks_share_it(ranks: int) -> None:
    words = "RuntimeError: Connection closed by peer"
    said = Exc("RuntimeError", "Connection closed by peer", said=words)
    lives = tuple(
        RecordedLife(
            pid=3 + n,
            parent=2,
            environ={"RANK": str(n)},
            groups=(RecordedGroup(rank=n),),
            exits=5,
            ended=6,
        )
        for n in range(ranks)
    )
    reaps = tuple(Reaped(pid=3 + n, status=5, time=7.0) for n in range(ranks))
    launcher = RecordedLife(pid=2, argv=("/usr/bin/torchrun",), reaped=reaps)
    case = Case(
        HOSTS[:1],
        1,
        (),
        lives={HOSTS[0]: (launcher, *lives)},
        rollout_errors={HOSTS[0]: said},
        script=True,
    )
    errors = {str(one.error) for one in case.members}
    assert errors == ({words} if ranks == 1 else {"None"})


def test_a_pipe_that_ends_well_hides_no_exception() -> None:
    raised = Raised(chain=(RaisedOne(kind="IndexError", message="out of bounds"),))
    life = RecordedLife(
        pid=3, argv=("raises.py",), groups=(RecordedGroup(rank=0),), exception=raised, ended=6.0
    )
    ended = Event(7.0, {"event": "command.exited", "node": HOSTS[0], "status": 0})
    case = Case(HOSTS[:1], 1, (ended,), lives={HOSTS[0]: (life,)}, script=True)
    (rank,) = case.members
    assert (rank.status, rank.error.kind if rank.error else "") == (1, "IndexError")


def test_a_process_that_began_after_the_look_is_not_gone() -> None:
    seen = Process(pid=1, command=("python", "train.py"))
    look = NodeLook(processes=(seen,), time=10.0)
    lives = {2: RecordedLife(pid=2, started=11.0), 3: RecordedLife(pid=3, started=9.0)}
    tree = Tree(look, lives)
    assert not tree.is_gone(2)
    assert tree.is_gone(3)
