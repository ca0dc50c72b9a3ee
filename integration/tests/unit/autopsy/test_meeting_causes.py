"""Ranks that don't meet: a launcher failed, a name is known to nobody, a program is gone."""

from __future__ import annotations

from typing import Any

import pytest

from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.diagnose import diagnose
from metta_sandbox.autopsy.seen import (
    Frame,
    NodeLook,
    Process,
    RecordedGroup,
    RecordedLife,
    Socket,
    Thread,
)
from metta_sandbox.autopsy.words import Exc
from metta_sandbox.timeline.recording import Event

HOSTS = ("sweep-master", "sweep-worker")
C10D = "/usr/lib/python3.11/site-packages/torch/distributed/distributed_c10d.py"
TAKEN = Exc("", "warm: OSError: [Errno 98] Address already in use (address ('', 58193))")
TORCHRUN = Exc("torch.distributed.DistNetworkError", "the server could not bind, EADDRINUSE")
STOPPED = Exc("", "warm: stopped by SIGTERM; ending the ranks of this node")
NO_NAME = Exc("", "[c10d] (sweep-master, 34587) cannot be retrieved (gai error: -2 - Name)")


def started(*ranks: int) -> list[Event]:
    return [
        Event(
            1.0,
            {
                "event": "rank.started",
                "group": "trial-1",
                "rank": rank,
                "node": HOSTS[rank],
                "process": 100 + rank,
            },
        )
        for rank in ranks
    ]


def process(pid: int, *stack: tuple[str, str, int, str], **fields: Any) -> Process:
    frames = tuple(Frame(function=a, file=b, line=c, source=d) for a, b, c, d in stack)
    return Process(pid=pid, threads=(Thread(id=pid, frames=frames),), **fields)


def case(events: list[Event], *looks: NodeLook, **fields: Any) -> Case:
    return Case(HOSTS, 1, events, 1, looks=dict(zip(HOSTS, looks, strict=False)), **fields)


@pytest.mark.parametrize("error", [TAKEN, TORCHRUN])
def test_a_launcher_that_found_its_port_taken_is_named(error: Exc) -> None:
    unseen = NodeLook(processes=(Process(pid=101, threads_problem="Permission denied"),))
    launchers = {HOSTS[0]: error, HOSTS[1]: STOPPED}
    found = diagnose(case(started(1), NodeLook(), unseen, launcher_errors=launchers))
    assert found is not None
    assert (found.kind, found.rank, found.node) == ("port taken", 0, HOSTS[0])
    assert str(error) in found.sentence


@pytest.mark.parametrize(
    "error",
    [
        STOPPED,
        Exc("torch.distributed.elastic.SignalException", "Process 7 got signal: 15"),
        Exc("DistNetworkError", "Connection closed by peer"),
        Exc("", "[W] OMP_NUM_THREADS is 1"),
    ],
)
def test_a_launcher_that_was_stopped_or_left_alone_is_not_to_blame(error: Exc) -> None:
    assert diagnose(case([], launcher_errors={HOSTS[1]: error})) is None


def test_a_launcher_whose_rank_ran_has_not_failed_by_itself() -> None:
    assert diagnose(case(started(0), launcher_errors={HOSTS[0]: TAKEN})) is None


def test_a_rank_that_finds_no_way_to_another_is_named() -> None:
    looks = [NodeLook(processes=(Process(pid=100 + rank),)) for rank in (0, 1)]
    found = diagnose(case(started(0, 1), *looks, errors={1: NO_NAME}))
    assert found is not None
    assert (found.kind, found.rank) == ("peer unreachable", 1)
    assert "sweep-master, 34587" in found.sentence


def test_a_launcher_that_finds_no_way_to_another_stands_for_its_rank() -> None:
    found = diagnose(case([], launcher_errors={HOSTS[1]: NO_NAME}))
    assert found is not None
    assert (found.kind, found.rank) == ("peer unreachable", 1)


def test_who_died_of_a_name_that_nobody_knows_could_not_reach_a_peer() -> None:
    events = [
        *started(0, 1),
        Event(2.0, {"event": "rank.exited", "group": "trial-1", "rank": 1, "status": 1}),
    ]
    error = Exc("socket.gaierror", "[Errno -2] Name or service not known", "train.py:3")
    found = diagnose(case(events, errors={1: error}))
    assert found is not None
    assert (found.kind, found.rank) == ("peer unreachable", 1)


WAITS = (
    ("all_reduce", C10D, 1, "work.wait()"),
    ("main", "/work/train.py", 9, "dist.all_reduce(x)"),
)
COMMAND = process(
    11, ("main", "/work/run.py", 4, "time.sleep(1)"), parent=10, command=("python", "/work/run.py")
)


def test_a_program_that_a_users_command_has_lost_is_named_with_what_it_said() -> None:
    shell = Process(pid=10, command=("bash", "-c", "python run.py"))
    trainer = process(12, *WAITS, parent=11, command=("python", "train.py"))
    whole = NodeLook(processes=(shell, COMMAND, trainer))
    half = NodeLook(processes=(shell, COMMAND))
    error = Exc("ValueError", "enough", "train.py:7")
    found = diagnose(case([], whole, half, rollout_errors={HOSTS[1]: error}))
    assert found is not None
    assert (found.kind, found.rank, found.call) == ("exception", 1, "train.py:7")
    assert found.sentence.startswith("train.py of rank 1 (sweep-worker) raised ValueError: enough")
    assert [(one.rank, one.call) for one in found.waiting] == [(0, "`all_reduce`, train.py:9")]


def test_a_program_that_said_nothing_has_died() -> None:
    trainer = process(12, *WAITS, parent=11, command=("python", "-u", "-m", "mine.train", "-x"))
    found = diagnose(
        case([], NodeLook(processes=(COMMAND, trainer)), NodeLook(processes=(COMMAND,)))
    )
    assert found is not None
    assert (found.kind, found.rank) == ("process died", 1)
    assert found.sentence.startswith("mine.train of rank 1 (sweep-worker) is not there any more")


LEFT = Exc("RuntimeError", "Connection closed by peer", "train.py:9", "main", "all_reduce")


def test_of_programs_that_are_all_gone_the_one_that_failed_by_itself_is_named() -> None:
    both = [NodeLook(processes=(COMMAND,))] * 2
    errors = {HOSTS[0]: LEFT, HOSTS[1]: Exc("ValueError", "enough", "train.py:7", "main")}
    found = diagnose(case([], *both, rollout_errors=errors))
    assert found is not None
    assert (found.kind, found.rank, found.call) == ("exception", 1, "train.py:7")
    assert [(one.rank, one.left) for one in found.waiting] == [(0, True)]


def test_of_programs_that_are_all_gone_one_that_said_nothing_left_the_others_alone() -> None:
    both = [NodeLook(processes=(COMMAND,))] * 2
    found = diagnose(case([], *both, rollout_errors={HOSTS[0]: LEFT}))
    assert found is not None
    assert (found.kind, found.rank) == ("process died", 1)


def test_who_came_to_a_store_that_was_closing_is_named() -> None:
    makes = ("hand_off", "/src/t.py", 10, "store = TCPStore(host, port, 2, rank == 0)")
    look = NodeLook(processes=(process(100, makes),))
    lost = Exc(
        "torch.distributed.DistNetworkError",
        "Failed to recv, got 0 bytes. Connection was likely closed.",
        place="t.py:16",
        function="hand_off",
        exact=True,
    )
    about = {"rank": 1, "node": HOSTS[1], "status": 1, "group": "trial-1"}
    ended = Event(2.0, {"event": "rank.exited", **about})
    found = diagnose(case([*started(0, 1), ended], look, NodeLook(), errors={1: lost}))
    assert found is not None
    assert (found.kind, found.rank) == ("rank missing at rendezvous", 1)
    assert (found.certainty, found.call) == ("likely", "`hand_off`, t.py:16")
    assert "came to a store that was being closed" in found.sentence
    assert found.sentence.endswith("; rank 0 waits in `TCPStore`, t.py:10")


def test_who_still_waits_at_a_store_that_was_closed_is_named() -> None:
    joins = ("init_process_group", C10D, 1899, "default_pg, _ = _new_process_group_helper(")
    own = ("<module>", "/src/t.py", 8, "dist.init_process_group()")
    closed = Socket(local="127.0.0.1:48924", remote="127.14.146.2:45621", state="closed by peer")
    looks = [
        NodeLook(processes=(process(100, joins, own),)),
        NodeLook(processes=(process(101, joins, own, sockets=(closed,)),)),
    ]
    port = {"MASTER_PORT": "45621", "MASTER_ADDR": "127.14.146.2"}
    lives = {host: (RecordedLife(pid=100 + n, environ=port),) for n, host in enumerate(HOSTS)}
    found = diagnose(case(started(0, 1), *looks, lives=lives))
    assert found is not None
    assert (found.kind, found.rank, found.certainty) == ("rank missing at rendezvous", 1, "certain")
    assert "came to a store that was being closed" in found.sentence


def test_the_hand_off_whose_store_was_closed_is_numbered() -> None:
    joins = ("init_process_group", C10D, 1899, "default_pg, _ = _new_process_group_helper(")
    own = ("<module>", "/src/t.py", 8, "dist.init_process_group()")
    port = {"MASTER_PORT": "45621", "MASTER_ADDR": "127.14.146.2"}
    closed = Socket(local="127.0.0.1:48924", remote="127.14.146.2:45621", state="closed by peer")
    looks = [
        NodeLook(processes=(process(100, joins, own),)),
        NodeLook(processes=(process(101, joins, own, sockets=(closed,)),)),
    ]
    lives: dict[str, tuple[RecordedLife, ...]] = {}
    for number, host in enumerate(HOSTS):
        about: dict[str, Any] = {"name": "0", "rank": number, "size": 2, "port": "45621"}
        groups = (RecordedGroup(**about, time=1.0, done_time=2.0), RecordedGroup(**about, time=3.0))
        lives[host] = (RecordedLife(pid=100 + number, environ=port, groups=groups),)

    found = diagnose(case(started(0, 1), *looks, lives=lives))

    assert found is not None
    assert found.sentence.startswith(
        "rank 1 (sweep-worker) connected to the store of hand-off 1 that rank 0 was closing"
    )


@pytest.mark.parametrize(
    ("done", "certainty"), [(3.5, "certain"), (None, "likely")], ids=["met", "caught"]
)
def test_who_met_in_the_last_store_and_ended_is_named(done: float | None, certainty: str) -> None:
    joins = ("init_process_group", C10D, 1899, "default_pg, _ = _new_process_group_helper(")
    own = ("<module>", "/src/t.py", 8, "dist.init_process_group()")
    looks = [NodeLook(processes=(process(100, joins, own),)), NodeLook()]
    about: dict[str, Any] = {"name": "0", "size": 2, "port": "45621"}
    lives = {
        host: (
            RecordedLife(
                pid=100 + rank,
                groups=(
                    RecordedGroup(**about, rank=rank, time=1.0, done_time=2.0),
                    RecordedGroup(**about, rank=rank, time=asked, done_time=done if rank else None),
                ),
            ),
        )
        for rank, (host, asked) in enumerate(zip(HOSTS, (4.0, 3.0), strict=True))
    }
    ended = Event(
        5.0, {"event": "rank.exited", "rank": 1, "node": HOSTS[1], "status": 0, "group": "trial-1"}
    )

    found = diagnose(case([*started(0, 1), ended], *looks, lives=lives))

    assert found is not None
    assert (found.rank, found.certainty) == (1, certainty)
    assert found.sentence.startswith(
        "rank 1 (sweep-worker) connected to the store of hand-off 1 that rank 0 was closing, "
        "not to the next one, and exited with status 0"
    )


@pytest.mark.parametrize("pauses", [True, False])
def test_of_two_addresses_the_one_that_nobody_answers_at_is_wrong(pauses: bool) -> None:
    joins = ("init_process_group", C10D, 1899, "store = _create_c10d_store(")
    own = ("main", "/src/main.py", 13, "dist.init_process_group()")
    reached, other = "127.185.30.2:56403", "192.0.2.15:56403"
    sockets = (
        Socket(local="127.0.0.1:35824", remote=reached, state="established"),
        Socket(local="192.0.2.2:35590", remote=other, state="connecting", unsent=1),
    )
    looks = [
        NodeLook(processes=(process(100 + rank, joins, own, sockets=those),))
        for rank, those in enumerate([sockets[:1], () if pauses else sockets[1:]])
    ]
    lives = {
        host: (
            RecordedLife(pid=100 + rank, environ={"MASTER_ADDR": at[:-6], "MASTER_PORT": "56403"}),
        )
        for rank, (host, at) in enumerate(zip(HOSTS, (reached, other), strict=True))
    }
    found = diagnose(case(started(0, 1), *looks, lives=lives))
    assert found is not None
    assert (found.kind, found.rank, found.certainty) == ("rank missing at rendezvous", 1, "certain")
    assert "meets at MASTER_ADDR 192.0.2.15, where the other has 127.185.30.2" in found.sentence
