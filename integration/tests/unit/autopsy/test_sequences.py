"""Which rank has left a collective out: sequences made by hand, and who went another way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.cause import Cause
from metta_sandbox.autopsy.diagnose import diagnose
from metta_sandbox.autopsy.seen import (
    Collective,
    Frame,
    NodeLook,
    Process,
    Raised,
    RaisedOne,
    Recorded,
    RecordedLife,
    Thread,
    ThreadEnd,
)
from metta_sandbox.autopsy.sequences import entered_in, last_noted, parting_of
from metta_sandbox.autopsy.words import Exc
from metta_sandbox.timeline.recording import Event

SITE = "/usr/lib/python3.11/site-packages/torch"
#: Collectives of a small trainer: the call, its name, how much goes in, and its line.
CALLS: Mapping[str, tuple[str, str, int, int]] = {
    "sync": ("_sync_module_states", "broadcast", 5, 21),
    "forward": ("DistributedDataParallel._pre_forward", "broadcast", 2, 26),
    "backward": ("_engine_run_backward", "all_reduce", 5, 28),
    "mean": ("all_reduce", "all_reduce", 1, 32),
    "count": ("all_reduce", "all_reduce", 1, 33),
    "barrier": ("barrier", "barrier", 0, 30),
    "gather": ("all_gather", "all_gather", 3, 34),
}
FILES = {
    "all_reduce": f"{SITE}/distributed/distributed_c10d.py",
    "all_gather": f"{SITE}/distributed/distributed_c10d.py",
    "barrier": f"{SITE}/distributed/distributed_c10d.py",
    "_engine_run_backward": f"{SITE}/autograd/graph.py",
}


def recorded(*words: str, first: int = 1, group: str = "0") -> Recorded:
    entries, stacks = [], []
    for index, word in enumerate(words):
        call, name, size, line = CALLS[word]
        file = FILES.get(call, f"{SITE}/nn/parallel/distributed.py")
        mine = Frame(function="main", file="/work/train.py", line=line)
        stacks.append((Frame(function=call, file=file, line=1), mine))
        entry = Collective(
            group=group, number=first + index, name=name, sizes=((size,),), stack=index
        )
        entries.append(entry)
    return Recorded(entries=tuple(entries), stacks=tuple(stacks))


def seen(ranks: Sequence[Recorded | None], **fields: object) -> Case:
    hosts = tuple(f"node-{rank}" for rank in range(len(ranks)))
    events = []
    looks = {}
    at: dict[int, tuple[Frame, ...]] = fields.pop("at", {})  # type: ignore[assignment]
    for rank, one in enumerate(ranks):
        told = {"event": "rank.started", "group": "trial-1", "rank": rank, "node": hosts[rank]}
        events.append(Event(1.0, {**told, "process": rank + 1}))
        if one is not None:
            stack = at.get(rank, one.stacks[-1])
            thread = Thread(id=rank + 1, frames=stack)
            process = Process(pid=rank + 1, threads=(thread,), recorded=one)
            looks[hosts[rank]] = NodeLook(processes=(process,))
    events += fields.pop("more", [])  # type: ignore[arg-type]
    return Case(hosts, 1, events, 1, looks=looks, **fields)  # type: ignore[arg-type]


def named(case: Case) -> Cause:
    cause = diagnose(case)
    assert cause is not None
    return cause


TURN = ("backward", "mean")
#: What Gloo says as it aborts a rank that got more than it asked for.
CLASHED = "what(): op.preamble.length <= op.nbytes. 8 vs 4"


@pytest.mark.parametrize("odd", [0, 1])
def test_of_two_the_one_whose_next_did_not_come_next_before_has_left_it_out(odd: int) -> None:
    ways = [recorded("sync", *TURN, *TURN, "backward", "mean")] * 2
    ways[odd] = recorded("sync", *TURN, *TURN, "backward", "backward")
    cause = named(seen(ways))
    assert (cause.kind, cause.rank) == ("collective mismatch", odd)
    assert (
        f"rank {odd} (node-{odd}) has left out `all_reduce`, train.py:32: "
        "its collective number 7 is `backward`, train.py:28"
    ) in cause.sentence
    assert [one.rank for one in cause.waiting] == [1 - odd]


@pytest.mark.parametrize("odd", [0, 1])
def test_of_two_one_that_enters_what_never_was_due_is_at_it(odd: int) -> None:
    ways = [recorded(*TURN, *TURN, "backward", "mean")] * 2
    ways[odd] = recorded(*TURN, *TURN, "backward", "barrier")
    cause = named(seen(ways))
    assert cause.rank == odd
    assert "is at `barrier`, train.py:30 where `all_reduce`, train.py:32 was due" in cause.sentence


@pytest.mark.parametrize("after", ["backward", "forward"])
@pytest.mark.parametrize("odd", [0, 1])
def test_in_the_first_turn_the_one_that_has_gone_round_has_left_it_out(
    odd: int, after: str
) -> None:
    ways = [recorded("sync", "backward", "mean")] * 2
    ways[odd] = recorded("sync", "backward", after)
    cause = named(seen(ways))
    assert cause.rank == odd
    assert "has left out `all_reduce`, train.py:32" in cause.sentence


@pytest.mark.parametrize("odd", [0, 1])
def test_without_a_turn_the_one_that_is_further_down_has_left_it_out(odd: int) -> None:
    ways = [recorded("sync", "barrier")] * 2
    ways[odd] = recorded("sync", "mean")
    assert named(seen(ways)).rank == odd


def test_a_thread_that_ended_of_an_exception_is_told_of_who_went_on_without_it() -> None:
    frame = Frame(function="augment", file="/work/train.py", line=17)
    raised = Raised(chain=(RaisedOne(kind="ValueError", message="3 rows", frames=(frame,)),))
    life = RecordedLife(pid=2, threads=(ThreadEnd(name="training", exception=raised),))
    ways = [recorded(*TURN, *TURN, "backward"), recorded(*TURN, *TURN, "mean")]
    cause = named(seen(ways, lives={"node-1": (life,)}))
    assert (cause.kind, cause.rank) == ("collective mismatch", 1)
    assert (
        "its thread `training` has ended with ValueError: 3 rows in `augment`, train.py:17"
        in cause.sentence
    )


def test_who_is_ahead_in_its_steps_has_left_it_out() -> None:
    steps = [
        Event(2.0, {"event": "train.step", "trial": 1, "rank": rank, "step": step})
        for rank, step in ((0, 2), (1, 1))
    ]
    ways = [recorded(*TURN, "mean"), recorded(*TURN, "backward")]
    cause = named(seen(ways, more=steps))
    assert cause.rank == 0
    assert "has left out `backward`, train.py:28" in cause.sentence


def test_of_many_the_one_that_is_alone_is_named() -> None:
    ways = [recorded(*TURN, "backward", "mean")] * 4
    ways[2] = recorded(*TURN, "backward", "backward")
    cause = named(seen(ways))
    assert cause.rank == 2
    assert [one.rank for one in cause.waiting] == [0, 1, 3]


@pytest.mark.parametrize("odd", [0, 1])
def test_collectives_that_are_alike_are_told_apart_by_their_lines(odd: int) -> None:
    ways = [recorded("mean", "count", "mean", "count", "mean", "count")] * 2
    ways[odd] = recorded("mean", "count", "mean", "count", "count", "mean")
    cause = named(seen(ways))
    assert cause.rank == odd
    assert "has left out `all_reduce`, train.py:32" in cause.sentence


def test_numbers_that_no_rank_has_are_passed_over() -> None:
    ways = [
        recorded(*TURN, *TURN, "backward", "mean"),
        recorded(*TURN, *TURN, "backward", "barrier"),
    ]
    gaps = [
        one.model_copy(
            update={
                "entries": tuple(
                    each.model_copy(update={"number": 4 * each.number}) for each in one.entries
                )
            }
        )
        for one in ways
    ]
    assert named(seen(gaps)).rank == 1


def test_ranks_that_enter_the_same_from_lines_of_their_own_do_not_part() -> None:
    ways = [recorded(*["mean"] * 4), recorded(*["count"] * 4)]
    assert parting_of({rank: entered_in(one, "0") for rank, one in enumerate(ways)}) is None


def test_of_a_ring_that_has_lost_its_beginning_only_what_all_still_have_is_compared() -> None:
    ways = [
        recorded(*TURN, *TURN, "backward", "mean"),
        recorded("mean", "backward", "backward", first=4),
    ]
    assert named(seen(ways)).rank == 1


def test_where_the_other_side_died_of_it_the_one_that_is_left_tells() -> None:
    said = Exc("", CLASHED, aborted=CLASHED)
    end = {"event": "rank.exited", "group": "trial-1", "rank": 0, "status": -6}
    left = recorded(*TURN, *TURN, "backward", "backward")
    case = seen([None, left], more=[Event(3.0, end)], errors={0: said})
    cause = named(case)
    assert (cause.kind, cause.rank) == ("collective mismatch", 1)
    assert "has left out `all_reduce`, train.py:32" in cause.sentence

    good = recorded(*TURN, *TURN, "backward", "mean")
    # One that is where it was due, with what it gave there before, has not strayed.
    cause = named(seen([None, good], more=[Event(3.0, end)], errors={0: said}))
    assert (cause.kind, cause.rank, cause.certainty) == ("collective mismatch", 0, "likely")

    # Where nothing was before, whom the backend aborts may be innocent.
    first = recorded("mean")
    cause = named(seen([None, first], more=[Event(3.0, end)], errors={0: said}))
    assert (cause.kind, cause.rank, cause.certainty) == ("collective mismatch", None, "unknown")


def test_what_two_ranks_kept_of_a_number_counts_where_others_kept_less() -> None:
    """Ranks that survive what a lost peer does to them have gone on to another collective."""
    whole = recorded("backward", "backward", "backward", "backward", "mean")
    some = recorded("mean", first=5)
    odd = recorded("mean", first=4)
    cause = named(seen([some, whole, some, odd]))
    assert (cause.kind, cause.rank) == ("collective mismatch", 3)
    assert "has left out `backward`, train.py:28: its collective number 4" in cause.sentence


def test_where_one_died_of_it_the_one_at_another_line_than_all_others_is_odd() -> None:
    said = Exc("", CLASHED, "train.py:32", aborted=CLASHED)
    end = {"event": "rank.exited", "group": "trial-1", "rank": 2, "status": -6}
    # Of what a signal has ended, only what Python asked for is recorded: no backward.
    mean = recorded("mean", "mean", "mean").model_copy(update={"partial": True})
    astray = recorded("mean", "mean").model_copy(update={"partial": True})
    at = (
        Frame(function="_engine_run_backward", file=FILES["_engine_run_backward"], line=1),
        Frame(function="main", file="/work/train.py", line=28),
    )
    fields = {"more": [Event(3.0, end)], "errors": {2: said}, "at": {1: at}}
    cause = named(seen([mean, astray, None], **fields))
    assert (cause.kind, cause.rank, cause.certainty) == ("collective mismatch", 1, "likely")
    assert "was at `backward`, train.py:28 while all others were" in cause.sentence


def test_what_is_half_recorded_shows_nobody_where_it_was_due() -> None:
    said = Exc("", CLASHED, "train.py:32", aborted=CLASHED)
    end = {"event": "rank.exited", "group": "trial-1", "rank": 1, "status": -6}
    half = recorded("mean", "mean").model_copy(update={"partial": True})
    at = (
        Frame(function="_engine_run_backward", file=FILES["_engine_run_backward"], line=1),
        Frame(function="main", file="/work/train.py", line=28),
    )
    case = seen([half, None], more=[Event(3.0, end)], errors={1: said}, at={0: at})
    assert (named(case).rank, named(case).certainty) == (None, "unknown")


@pytest.mark.parametrize(("died_at", "rank"), [(13, 0), (12, None)])
def test_of_two_half_recorded_the_one_elsewhere_as_the_turn_came_round_is_odd(
    died_at: int, rank: int | None
) -> None:
    """A turn that took fewer numbers than the one before left something out itself."""
    said = Exc("", CLASHED, aborted=CLASHED)
    end = {"event": "rank.exited", "group": "trial-1", "rank": 1, "status": -6}

    def half(*numbers: int) -> Recorded:
        whole = recorded(*["mean"] * len(numbers))
        pairs = zip(whole.entries, numbers, strict=True)
        entries = tuple(one.model_copy(update={"number": number}) for one, number in pairs)
        return whole.model_copy(update={"entries": entries, "partial": True})

    at = (
        Frame(function="_engine_run_backward", file=FILES["_engine_run_backward"], line=1),
        Frame(function="main", file="/work/train.py", line=28),
    )
    case = seen(
        [half(5, 9, 11), None],
        more=[Event(3.0, end)],
        errors={1: said},
        at={0: at},
        recorded={1: half(5, 9, 11, died_at)},
    )
    cause = named(case)
    assert (cause.kind, cause.rank) == ("collective mismatch", rank)
    assert cause.certainty == ("unknown" if rank is None else "likely")
    if rank is not None:
        assert (
            "rank 0 (node-0) was at `backward`, train.py:28 where `all_reduce`, train.py:32 "
            "was due, as collective number 13"
        ) in cause.sentence


def test_of_ranks_at_the_store_who_did_not_set_the_key_is_told_as_far_as_anything_shows_it() -> (
    None
):
    own = Frame(function="main", file="/work/train.py", line=47, source='store.get("vocabulary")')
    turn, first = recorded(*["mean"] * 3), recorded("mean")
    # Its loop came round for the other one: the one at the store has left it.
    cause = named(seen([turn, turn], at={1: (own,)}))
    assert (cause.rank, cause.certainty) == (1, "likely")
    assert 'waits in `store.get` for "vocabulary" at train.py:47' in cause.sentence

    # Of two that did nothing before, either may have the wrong key.
    cause = named(seen([first, first], at={1: (own,)}))
    assert (cause.rank, cause.certainty) == (None, "unknown")
    assert "which of the ranks is wrong is not known" in cause.sentence

    # Of three, the one that went on has not set what the others wait for.
    cause = named(seen([first] * 3, at={1: (own,), 2: (own,)}))
    assert (cause.rank, cause.certainty) == (0, "likely")
    assert (
        "rank 0 (node-0) went on to `all_reduce`, train.py:32, while each of rank 1, rank 2 waits "
        'in `store.get` for "vocabulary" at train.py:47'
    ) in cause.sentence

    # Of three, the one at the store is alone.
    assert named(seen([first] * 3, at={1: (own,)})).rank == 1


@pytest.mark.parametrize("odd", [0, 1])
def test_of_two_the_one_that_makes_a_group_where_its_loop_went_on_is_odd(odd: int) -> None:
    ways = [recorded(*TURN, *TURN, "backward", "mean")] * 2
    ways[odd] = recorded(*TURN, *TURN, "backward")
    group = Frame(function="new_group", file=FILES["barrier"], line=1)
    own = Frame(function="main", file="/work/train.py", line=31)
    cause = named(seen(ways, at={odd: (group, own)}))
    assert (cause.kind, cause.rank, cause.certainty) == ("collective mismatch", odd, "likely")
    assert "went on to `new_group`, train.py:31 without `all_reduce`" in cause.sentence


@pytest.mark.parametrize("odd", [0, 1])
def test_of_two_the_one_that_went_by_another_group_before_is_odd(odd: int) -> None:
    turns = recorded(*["mean"] * 3, group="1")
    last = turns.entries[-1].model_copy(update={"group": "0", "number": 1})
    ways = [turns] * 2
    ways[odd] = turns.model_copy(update={"entries": (*turns.entries[:-1], last)})
    cause = named(seen(ways))
    assert (cause.kind, cause.rank, cause.certainty) == ("collective mismatch", odd, "likely")
    assert "with group 0 where" in cause.sentence

    # In their first turn nothing tells.
    first = recorded("mean", group="1")
    cause = named(seen([first, recorded("mean", group="0")]))
    assert (cause.rank, cause.certainty) == (None, "unknown")


@pytest.mark.parametrize(
    "ways",
    [
        [recorded(*TURN, "backward"), recorded(*TURN, "backward")],
        # Behind, and not elsewhere.
        [recorded(*TURN, *TURN), recorded(*TURN)],
        # Each in a group of its own.
        [recorded("mean", group="1"), recorded("barrier", group="2")],
    ],
    ids=["alike", "behind", "apart"],
)
def test_of_sequences_that_do_not_part_nothing_is_said(ways: list[Recorded]) -> None:
    cause = diagnose(seen(ways))
    assert cause is None or "collective number" not in cause.sentence


def test_sizes_may_differ_where_a_collective_lets_them() -> None:
    one, other = recorded("gather"), recorded("gather")
    sized = other.entries[0].model_copy(update={"sizes": ((9,),)})
    cause = diagnose(seen([one, other.model_copy(update={"entries": (sized,)})]))
    assert cause is None or "collective number" not in cause.sentence


@pytest.mark.parametrize("changed", [{"root": 1}, {"op": "MAX"}, {"dtypes": ("Double",)}])
def test_what_is_to_become_of_what_goes_in_is_compared_too(changed: dict[str, object]) -> None:
    plain = recorded(*TURN, *TURN)
    known = {"root": 0, "op": "SUM", "dtypes": ("Float",)}
    alike = plain.model_copy(
        update={"entries": tuple(one.model_copy(update=known) for one in plain.entries)}
    )
    last = alike.entries[-1].model_copy(update=changed)
    other = alike.model_copy(update={"entries": (*alike.entries[:-1], last)})
    cause = named(seen([alike, other]))
    assert (cause.kind, cause.rank, cause.certainty) == ("collective mismatch", 1, "certain")
    assert "(number 4)" in cause.sentence
    assert "rank 0 (node-0) gave 1 element" in cause.sentence

    of_two = [alike.model_copy(update={"entries": each.entries[-1:]}) for each in (alike, other)]
    cause = named(seen(of_two))
    assert (cause.rank, cause.certainty) == (None, "unknown")
    assert "which one is right is not known" in cause.sentence


def test_what_only_one_rank_could_tell_is_no_difference() -> None:
    alike = recorded(*TURN, *TURN)
    last = alike.entries[-1].model_copy(update={"op": "SUM", "root": 0})
    other = alike.model_copy(update={"entries": (*alike.entries[:-1], last)})
    cause = diagnose(seen([alike, other]))
    assert cause is None or "gave" not in cause.sentence


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_who_takes_another_part_of_a_scatter_than_all_others_is_odd(odd: int) -> None:
    ways = []
    for rank in range(3):
        one = recorded("mean", "barrier")
        taken = (18,) if rank == odd else (20,)
        last = one.entries[-1].model_copy(
            update={"name": "scatter", "sizes": (), "dtypes": (), "root": 1, "out_sizes": (taken,)}
        )
        if rank == 1:
            last = last.model_copy(update={"sizes": ((3, 20),), "dtypes": ("Float",)})
        ways.append(one.model_copy(update={"entries": (*one.entries[:-1], last)}))
    cause = named(seen(ways))
    assert (cause.kind, cause.rank, cause.certainty) == ("collective mismatch", odd, "certain")
    types = " of Float" if odd == 1 else ""
    assert f"rank {odd} (node-{odd}) took 18 elements{types}, root 1 from" in cause.sentence
    assert "took 20 elements" in cause.sentence


def in_pair(*words: str) -> Recorded:
    """Record what ranks 0 and 1 enter in a group of theirs."""
    one = recorded(*words, group="1")
    entries = (each.model_copy(update={"group_ranks": (0, 1)}) for each in one.entries)
    return one.model_copy(update={"entries": tuple(entries)})


@pytest.mark.parametrize("behind", [0, 1])
def test_of_a_circle_who_did_not_come_where_another_one_often_was_has_left_it_out(
    behind: int,
) -> None:
    ways = [in_pair("mean", "mean", "mean")] * 2
    ways[behind] = in_pair("mean", "mean")
    barrier = (
        Frame(function="barrier", file=f"{SITE}/distributed/distributed_c10d.py", line=1),
        Frame(function="main", file="/work/train.py", line=57),
    )
    third = recorded("sync").model_copy(update={"entries": ()})
    cause = named(seen([*ways, third], at={behind: barrier, 2: barrier}))
    assert (cause.kind, cause.rank, cause.certainty) == ("collective mismatch", behind, "likely")
    expected = "went on to `barrier`, train.py:57 without `all_reduce`, train.py:32"
    assert expected in cause.sentence


@pytest.mark.parametrize("odd", [0, 1])
@pytest.mark.parametrize("before", [0, 1])
def test_who_first_waits_for_a_message_counts_before_who_waits_at_the_store_for_it(
    odd: int, before: int
) -> None:
    store = Frame(function="main", file="/work/train.py", line=47, source="store.wait(keys)")
    mine = Frame(function="main", file="/work/train.py", line=85)
    receives = (Frame(function="recv", file=FILES["barrier"], line=1), mine)
    turns = recorded(*TURN, *TURN)
    message = turns.entries[-1].model_copy(update={"name": "recv", "p2p": True})
    ways = [turns] * 2
    entries = (*turns.entries, *[message] * (1 + before))
    ways[odd] = turns.model_copy(update={"entries": entries})
    cause = named(seen(ways, at={1 - odd: (store,), odd: receives}))
    if before:
        assert (cause.rank, cause.certainty) == (1 - odd, "likely")
    else:
        assert (cause.rank, cause.certainty) == (odd, "likely")
        assert "is at `recv`, train.py:85, where it never was before" in cause.sentence


def test_where_a_rank_waits_for_what_it_began_elsewhere_is_told_with_what_it_gave() -> None:
    one = recorded("mean", "mean")
    last = one.entries[-1].model_copy(update={"sizes": ((2,),)})
    other = one.model_copy(update={"entries": (one.entries[0], last)})
    wait = Frame(function="wait", file=f"{SITE}/distributed/work.py", line=1, source="x.wait()")
    mine = Frame(function="main", file="/work/train.py", line=41)
    cause = named(seen([one, other], at={0: (wait, mine), 1: (wait, mine)}))
    assert (cause.kind, cause.rank) == ("collective mismatch", 1)
    assert "to `all_reduce`, train.py:32" in cause.sentence
    assert "; rank 0 waited at train.py:41" in cause.sentence


@pytest.mark.parametrize("odd", [1, 3])
def test_where_all_wait_in_a_circle_of_messages_the_one_whose_call_was_not_due_is_odd(
    odd: int,
) -> None:
    def sends(one: Recorded) -> Recorded:
        """Turn what they do at the barrier's line into messages."""
        entries = (
            each.model_copy(update={"name": "recv", "p2p": True})
            if each.name == "barrier"
            else each
            for each in one.entries
        )
        return one.model_copy(update={"entries": tuple(entries)})

    turn = ("barrier", "gather")
    stuck, ahead = (*turn, *turn, "barrier"), (*turn, *turn, "barrier", "gather")
    ways = [sends(recorded(*words)) for words in (stuck, ahead, stuck, ahead)]
    ways[odd] = sends(recorded(*turn, *turn, "gather"))
    cause = named(seen(ways))
    assert (cause.kind, cause.rank, cause.certainty) == ("collective mismatch", odd, "likely")
    assert "has left out `barrier`, train.py:30" in cause.sentence


def test_where_one_that_is_gone_was_last_is_its_last_call_that_was_recorded() -> None:
    assert last_noted(recorded("barrier", "mean")) == "`all_reduce`, train.py:32"
    assert last_noted(None) == ""
