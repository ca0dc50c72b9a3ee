"""What strikes the network, where, and what is taken for proof of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from metta_sandbox.errors import StackError
from metta_sandbox.faults.sidecars import sidecars_of
from metta_sandbox.scenario.faults.kinds.bandwidth import BandwidthFault, NarrowLink
from metta_sandbox.scenario.faults.kinds.delay import DelayFault, DelayPackets
from metta_sandbox.scenario.faults.kinds.no_name import ForgetName, NoNameFault
from metta_sandbox.scenario.faults.kinds.packet_loss import LosePackets, PacketLossFault
from metta_sandbox.scenario.faults.kinds.partition import CutLink, PartitionFault
from metta_sandbox.scenario.faults.kinds.port_taken import PortTakenFault, TakePort
from metta_sandbox.scenario.faults.kinds.reset import ResetConnections, ResetFault
from metta_sandbox.scenario.faults.networks import Crossing, cross

PAIR = ("sweep-master", "sweep-worker")


class FakeSide:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self, host: str, **answers: Any) -> None:
        self.host = host
        self.address = f"address of {host}"
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def datagrams(self) -> tuple[str, int]:
        return self.address, 1

    connections = datagrams

    def ask(self, verb: str, _patience: float = 0.0, **args: Any) -> Any:
        self.asked.append((verb, args))
        answer = self.answers.get(verb)
        return answer(args) if callable(answer) else answer

    def told(self, verb: str) -> list[dict[str, Any]]:
        return [args for asked, args in self.asked if asked == verb]


def made(kind: Any, said: Any, *sidecars: FakeSide) -> Any:
    found = {side.host: side for side in sidecars}
    return kind("f", said, SimpleNamespace(network=SimpleNamespace(beside=found.__getitem__)))


def seen(arrived: int, lost: int = 0, *delays: float, span: float = 1.0) -> dict[str, Any]:
    return {"arrived": arrived, "lost": lost, "delays": list(delays), "span": span}


def receiving(of: int, arrive: int) -> Any:
    """Answer that so many of so many arrive, whatever the batch."""
    return lambda args: seen(args["count"] * arrive // of, args["count"] * (of - arrive) // of)


def test_datagrams_go_in_batches_that_a_socket_holds_and_are_added_up() -> None:
    sender, receiver = FakeSide("a"), FakeSide("b", seen=receiving(10, 9))
    crossing = cross(sender, receiver, 120)  # type: ignore[arg-type]

    assert [args["count"] for args in sender.told("send")] == [50, 50, 20]
    assert len({args["tag"] for args in sender.told("send")}) == 3
    assert (crossing.sent, crossing.arrived, crossing.lost) == (120, 108, 12)


@pytest.mark.parametrize("one_way", [True, False])
def test_a_partition_is_where_what_is_cut_arrives(one_way: bool) -> None:
    master, worker = FakeSide(PAIR[0], heal=3), FakeSide(PAIR[1], heal=4)
    cut = made(CutLink, PartitionFault(between=PAIR, one_way=one_way), master, worker)
    cut.inject()
    cut.heal()

    wanted = {"name": "f", "kind": "loss", "share": 1.0}
    assert worker.told("strike") == [{**wanted, "peers": [master.address]}]
    back = [] if one_way else [{**wanted, "peers": [worker.address]}]
    assert master.told("strike") == back
    assert len(master.told("heal")) == len(back)
    assert worker.told("heal") == [{"name": "f"}]


@pytest.mark.parametrize(
    ("one_way", "to_master", "to_worker", "holds"),
    [
        (False, 0, 0, True),
        (False, 10, 0, False),
        (True, 10, 0, True),
        (True, 0, 0, False),
        (True, 10, 10, False),
    ],
)
def test_a_partition_is_proven_by_what_is_dropped_and_by_what_is_not(
    one_way: bool, to_master: int, to_worker: int, holds: bool
) -> None:
    master = FakeSide(PAIR[0], seen=receiving(10, to_master))
    worker = FakeSide(PAIR[1], seen=receiving(10, to_worker))
    cut = made(CutLink, PartitionFault(between=PAIR, one_way=one_way), master, worker)

    assert cut.during().holds is holds
    assert cut.before().holds is (to_master == to_worker == 10)


def test_what_never_arrived_and_was_not_dropped_proves_nothing() -> None:
    cut = made(CutLink, PartitionFault(between=PAIR))
    assert not cut.is_struck(Crossing(10, 0, 0))
    assert cut.is_struck(Crossing(10, 0, 10))


@pytest.mark.parametrize(
    ("arrived", "lost", "holds"),
    [(380, 20, True), (390, 10, True), (400, 0, False), (300, 100, False), (370, 20, False)],
)
def test_a_share_is_lost_within_what_chance_allows(arrived: int, lost: int, holds: bool) -> None:
    loss = made(LosePackets, PacketLossFault(between=PAIR, percent=5))
    assert loss.struck_count == 400
    assert loss.is_struck(Crossing(400, arrived, lost)) is holds


def test_a_delay_is_one_that_no_slow_machine_makes_up() -> None:
    said = DelayFault.model_validate({"between": PAIR, "by": "50ms", "jitter": "10ms"})
    slow = made(DelayPackets, said)
    assert slow.rule == {"kind": "delay", "by": 0.05, "jitter": 0.01}
    assert slow.is_struck(Crossing(2, 2, 0, (0.05, 0.055)))
    assert not slow.is_struck(Crossing(2, 2, 0, (0.001, 0.055)))
    # One that is fast is enough to see that nothing is wrong.
    assert slow.is_well(Crossing(2, 2, 0, (0.001, 0.5)))
    assert not slow.is_well(Crossing(2, 2, 0, (0.06, 0.5)))


def test_a_narrow_link_lets_no_more_pass() -> None:
    narrow = made(NarrowLink, BandwidthFault(between=PAIR, mbit=10))
    assert narrow.rule == {"kind": "rate", "bits": 10e6}
    assert narrow.count == 50
    assert made(NarrowLink, BandwidthFault(between=PAIR, mbit=0.1)).count == 4
    assert narrow.is_struck(Crossing(10, 10, 0, rate=9.9e6))
    assert not narrow.is_struck(Crossing(10, 10, 0, rate=10.1e6))
    assert not narrow.is_struck(Crossing(10, 0, 10))
    assert narrow.is_well(Crossing(10, 10, 0, rate=10.1e6))


def test_one_fast_burst_is_enough_to_see_that_a_link_is_wide() -> None:
    spans = iter([1.0, 1.0, 1e-3, 1e-3])
    sidecars = [
        FakeSide(host, seen=lambda args: seen(args["count"], span=next(spans))) for host in PAIR
    ]
    assert made(NarrowLink, BandwidthFault(between=PAIR, mbit=10), *sidecars).before().holds


@pytest.mark.parametrize(
    ("first", "second", "holds"),
    [
        ("ConnectionResetError", ["ConnectionResetError"], True),
        ("ConnectionResetError", [], False),
        ("ConnectionResetError", ["closed"], False),
        ("answers", ["ConnectionResetError"], False),
    ],
)
def test_a_reset_is_seen_at_both_ends(first: str, second: list[str], holds: bool) -> None:
    ends: list[str] = ["ConnectionResetError"]
    master = FakeSide(PAIR[0], connect="answers", say=first)
    worker = FakeSide(PAIR[1], ends=lambda _args: ends)
    reset = made(ResetConnections, ResetFault(between=PAIR), master, worker)

    assert reset.before().holds
    ends = [*ends, *second]
    assert reset.during().holds is holds
    # What a connection says that is reset is said once.
    reset.during()
    assert len(master.told("say")) == 1


def test_a_name_is_forgotten_on_one_node_alone() -> None:
    worker = FakeSide(PAIR[1], lookup="answers")
    forget = made(ForgetName, NoNameFault(name=PAIR[0], on=PAIR[1]), worker)
    assert forget.before().holds
    forget.inject()
    assert not forget.during().holds
    worker.answers["lookup"] = "no such name"
    assert forget.during().holds
    assert not forget.after().holds
    (told,) = worker.told("strike")
    assert told == {"name": "f", "peers": ["127.0.0.11"], "kind": "no name", "of": PAIR[0]}


def test_the_port_is_said_or_that_of_the_trigger() -> None:
    master = FakeSide(PAIR[0], free=True)
    taken = made(TakePort, PortTakenFault(node=PAIR[0]), master)
    with pytest.raises(StackError, match="names no port"):
        taken.before()
    taken.moment = {"event": "handoff.sent", "port": 4711}
    assert taken.before().holds
    taken.inject()
    assert not taken.during().holds
    taken.heal()
    assert master.told("take") == master.told("release") == [{"port": 4711}]
    assert made(TakePort, PortTakenFault(node=PAIR[0], port=80), master).port == 80


def test_nobody_is_beside_local_processes() -> None:
    stack: Any = SimpleNamespace(network=lambda: None)
    assert sidecars_of(stack, ()) is None
    context: Any = SimpleNamespace(network=None)
    alone = CutLink("f", PartitionFault(between=PAIR), context)
    with pytest.raises(StackError, match="no container"):
        alone.inject()
