"""The one thing that goes wrong, and what is true then.

Each takes what was drawn so far, and gives what fills which spots and the truth, its lines as
marks; or nothing, where there is no place for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random

from fuzz import troubles
from fuzz.draft import Draft
from fuzz.operations import COLLECTIVES, Operation
from fuzz.program import Truth
from fuzz.troubles import MARK, Trouble

WRONG = "wrong"
Change = tuple[Mapping[str, list[str]], Truth]
Troubling = Callable[[Random, Draft], Trouble]
Making = Callable[[Random, Draft], Change | None]


@dataclass(frozen=True)
class Deviation:
    """A kind of what can go wrong."""

    name: str
    weight: int
    make: Making
    #: The loop gets one operation of one of these kinds; none: any will do.
    needs: tuple[str, ...] = ()


def _at(*kinds: str, trouble: Troubling, at: str = "==") -> Making:
    """Put a trouble at a spot of one of these kinds."""

    def make(draw: Random, draft: Draft) -> Change | None:
        found = draft.spots(*kinds)
        if not found:
            return None
        spot = draw.choice(found)
        bad = trouble(draw, draft)
        fills = {spot.key: draft.when(draw, spot, bad.lines, at)}
        return fills, _truth(draft, (WRONG,), says=bad.says, place=bad.place)

    return make


_ANYWHERE = ("start", "ready", "loop", "early", "late", "early", "late", "deep", "deep", "deep")
_IN_STEPS = ("loop", "early")


def _anywhere(trouble: Troubling) -> Making:
    def make(draw: Random, draft: Draft) -> Change | None:
        kind = draw.choice(_ANYWHERE)
        kinds = (kind,) if draft.spots(kind) else ("early", "late")
        return _at(*kinds, trouble=trouble)(draw, draft)

    return make


def _exits(draw: Random, draft: Draft) -> Trouble:
    return troubles.exits(draw, threaded=draft.threaded)


def _leaves(draw: Random, draft: Draft) -> Change | None:
    """End early, in the middle of the loop."""
    spot = draw.choice(draft.spots(*_IN_STEPS))
    bad = troubles.leaves(draw, threaded=draft.threaded)
    lines = ("return",) if spot.kind == "loop" and not draft.finals else bad.lines
    return {spot.key: draft.when(draw, spot, lines)}, _truth(draft, (), place=False)


def _skips(draw: Random, draft: Draft) -> Change | None:
    """Leave a collective out, and go on."""
    found = [
        (spot, one)
        for spot in draft.spots("skip")
        for one in draft.loop
        if one.mark == spot.owner and _shows(draft, one)
    ]
    if not found:
        return None
    spot, one = draw.choice(found)
    body = draw.choice((("return",), ('print("nothing to share")', "return")))
    lines = [one.mark, *(later.mark for later in draft.after(one))]
    return {spot.key: draft.when(draw, spot, body)}, _parted(draft, one, lines)


def _shows(draft: Draft, one: Operation) -> bool:
    """Whether leaving one out shows at once: the next that Gloo could pair with is another."""
    after = draft.after(one)
    return all(not one.slot or later.slot != one.slot for later in after) and one not in after


_OTHERS = {
    "barrier": "dist.barrier(group=run.group)",
    "all_reduce": "dist.all_reduce(torch.ones(3), group=run.group)",
    "broadcast": "dist.broadcast(torch.ones(4), src=0, group=run.group)",
    "all_gather": "dist.all_gather([torch.empty(2) for _ in range(run.world)], torch.ones(2), "
    "group=run.group)",
}


def _enters_another(draw: Random, draft: Draft) -> Change | None:
    """Call another collective than the others."""
    found = [
        (spot, one)
        for spot in draft.spots("skip")
        for one in draft.loop
        if one.mark == spot.owner and one.slot
    ]
    if not found:
        return None
    spot, one = draw.choice(found)
    call = _OTHERS[draw.choice([slot for slot in _OTHERS if slot != one.slot])]
    fills = {spot.key: draft.when(draw, spot, (call + MARK, "return"))}
    return fills, _parted(draft, one, (WRONG, one.mark))


def _resized(draw: Random, draft: Draft, *, by_dtype: bool) -> Change | None:
    """Give another size, or the same of another type, in a way that Gloo notices."""
    found = []
    for spot in draft.spots("width"):
        one = next(one for one in draft.loop if one.mark == spot.owner)
        wanted = _sizes(one, draft.rank)
        if wanted:
            found.append((spot, one, draw.choice(wanted)))
    if not found:
        return None
    spot, one, more = draw.choice(found)
    by = draw.choice((1, 2, 3, 9)) if more else -draw.choice((1, 2))
    line = f"width += {by}" if more else f"width -= {-by}"
    if by_dtype:
        line = f"kind = torch.{'float64' if more else 'bfloat16'}"
    return {spot.key: draft.when(draw, spot, (line,))}, _parted(draft, one, (one.mark,))


def _sizes(one: Operation, rank: int) -> tuple[bool, ...]:
    """Whether Gloo minds more (true) or less (false) of a rank."""
    both = (True, False)
    if one.kind in {"all_reduce", "all_reduce async", "all_gather"}:
        return both
    if one.kind == "broadcast":
        return (True,) if rank == one.root else (False,)
    if one.kind == "gather":
        return () if rank == one.root else (True,)
    return (False,) if one.kind == "scatter" and rank != one.root else ()


def _reshapes(draw: Random, draft: Draft) -> Change | None:
    return _resized(draw, draft, by_dtype=False)


def _retypes(draw: Random, draft: Draft) -> Change | None:
    return _resized(draw, draft, by_dtype=True)


def _takes_another_root(draw: Random, draft: Draft) -> Change | None:
    """Take another rank for the source or destination; nobody else can see which."""
    spot = draw.choice(draft.spots("root"))
    one = next(one for one in draft.loop if one.mark == spot.owner)
    assert one.root is not None
    others = [rank for rank in range(draft.world) if rank != one.root]
    if one.kind == "broadcast":
        own = _partners(draft.world, draft.rank, one.root)
        others = [root for root in others if _partners(draft.world, draft.rank, root) != own]
    if not others:
        return None
    other = draw.choice(others)
    fills = {spot.key: draft.when(draw, spot, (f"root = {other}",))}
    if draft.world == 2:
        return fills, _truth(draft, (one.mark,), ranks=(0, 1), both=(0, 1), is_open=True)
    return fills, _truth(draft, (one.mark,), is_open=True)


def _partners(world: int, rank: int, root: int) -> tuple[frozenset[int], frozenset[int]]:
    """Give from whom a rank receives in Gloo's broadcast, a binomial tree, and to whom it sends.

    With two roots that make no difference to it, a broadcast passes as it should.
    """
    own = (rank - root) % world
    sources, sends = set(), set()
    for bit in (1 << number for number in range(world.bit_length())):
        if own < bit and own + bit < world:
            sends.add((own + bit + root) % world)
        elif bit <= own < 2 * bit:
            sources.add((own - bit + root) % world)
    return frozenset(sources), frozenset(sends)


def _fewer(draw: Random, draft: Draft) -> Change | None:
    """Do one round less than the others."""
    fills = {"main.steps": draft.when(draw, draft.spots("steps")[0], ("steps -= 1",))}
    lines = [one.mark for one in draft.finals] + _first_of(draft)
    if draft.world == 2 and draft.finals:
        return fills, _either(draft, lines)
    return fills, _truth(draft, lines, place=bool(draft.finals))


def _more(draw: Random, draft: Draft) -> Change | None:
    """Do one round more than the others."""
    fills = {"main.steps": draft.when(draw, draft.spots("steps")[0], ("steps += 1",))}
    lines = [one.mark for one in draft.finals] + _first_of(draft)
    if draft.world == 2:
        return fills, _either(draft, lines)
    return fills, _truth(draft, lines)


def _first_of(draft: Draft) -> list[str]:
    """Where the last round begins to be missed, until all meet."""
    marks = []
    for one in draft.loop:
        marks.append(one.mark)
        if one.meets:
            break
    return marks


def _queue_is_empty(draw: Random, draft: Draft) -> Change | None:
    """Who fills its queue comes to an end too early."""
    spot = draft.spots("last")[0]
    return {spot.key: draft.when(draw, spot, (f"last = {draft.step}",))}, _truth(
        draft, (spot.owner,)
    )


def _locks_cross(draw: Random, draft: Draft) -> Change | None:
    """Two threads each wait for the lock that the other one has."""
    spot = draft.spots("order")[0]
    body = ("with self.output:", "    time.sleep(0.5)", f"    with self.lock:{MARK}")
    fills = {spot.key: draft.when(draw, spot, (*body, "        self.count += 1"))}
    return fills, _truth(draft, (WRONG, f"{spot.owner}.output"))


def _child(trouble: Troubling) -> Making:
    """Something goes wrong in a child, and its rank waits or fails."""

    def make(draw: Random, draft: Draft) -> Change | None:
        spot = draft.spots("child")[0]
        bad = trouble(draw, draft)
        fills = {spot.key: draft.when(draw, spot, bad.lines)}
        return fills, _truth(draft, (WRONG, spot.owner))

    return make


def _asks_nothing(draw: Random, draft: Draft) -> Change | None:
    """Wait for the child's answer, and the child for the question."""
    spot = draft.spots("mute")[0]
    one = next(one for one in draft.loop if one.mark == spot.owner)
    read = "recv()" if one.kind == "worker process" else "stdout.readline()"
    body = (f"run.{one.mark}.{read}{MARK}",)
    lines = (WRONG, f"{one.mark}.stdin")
    return {spot.key: draft.when(draw, spot, body)}, _truth(draft, lines)


def _command(*words: str, says: str = "") -> Making:
    def make(draw: Random, draft: Draft) -> Change | None:
        spot = draft.spots("command")[0]
        shown = ", ".join(f'"{word}"' for word in words)
        fills = {spot.key: draft.when(draw, spot, (f"command = [{shown}]",))}
        return fills, _truth(draft, (spot.owner,), says=says)

    return make


def _waits_for_a_key(draw: Random, draft: Draft) -> Change | None:
    spot = draft.spots("key")[0]
    call = draw.choice(('run.store.wait(["never"])', 'run.store.get("never")'))
    return {spot.key: draft.when(draw, spot, (call + MARK,))}, _truth(draft, (WRONG,))


def _waits_for_a_file(draw: Random, draft: Draft) -> Change | None:
    spot = draft.spots("path")[0]
    body = ('path = path.with_suffix(".missing")',)
    return {spot.key: draft.when(draw, spot, body)}, _truth(draft, (spot.owner,))


def _receives_in_vain(draw: Random, draft: Draft) -> Change | None:
    """Wait for a message of a rank that sends none; its tag is nobody else's."""
    spot = draw.choice(draft.spots("early"))
    source = draw.choice([rank for rank in range(draft.world) if rank != draft.rank])
    fills = {
        spot.key: draft.when(draw, spot, (f"dist.recv(torch.empty(3), src={source}, tag=9){MARK}",))
    }
    if draft.history:
        return fills, _truth(draft, (WRONG,))
    return fills, _either(draft, (WRONG,))


def _truth(  # what most have in common
    draft: Draft,
    marks: Iterable[str],
    *,
    ranks: tuple[int, ...] = (),
    both: tuple[int, ...] = (),
    is_open: bool = False,
    says: str = "",
    place: bool = True,
) -> Truth:
    """Make the truth whose lines are marks, and which has no name, until the program is written."""
    return Truth(
        deviation="",
        ranks=ranks or (draft.rank,),
        open=is_open,
        both=both,
        lines=tuple(marks),
        place=place,
        says=says,
    )


def _either(draft: Draft, marks: Iterable[str]) -> Truth:
    """Of two ranks nobody can tell who left the path: both must be told."""
    return _truth(draft, marks, ranks=(0, 1), both=(0, 1), is_open=True)


def _parted(draft: Draft, one: Operation, marks: Iterable[str]) -> Truth:
    """Ranks that parted at a collective: who left shows by history or majority, or not at all."""
    if draft.step >= 2 or len(one.members) > 2:
        return _truth(draft, marks)
    pair = tuple(one.members)
    return _truth(draft, marks, ranks=pair, both=pair, is_open=True)


def _plain(trouble: Callable[..., Trouble]) -> Troubling:
    return lambda draw, _draft: trouble(draw, plain=True)


def _any(trouble: Callable[..., Trouble]) -> Troubling:
    return lambda draw, _draft: trouble(draw)


_READER = ("reader thread",)
_LOCK = ("lock",)
_CHILDREN = ("child program", "worker process", "data loader")
_ASKED = ("child program", "worker process")
_SIZED = ("all_reduce", "all_reduce async", "all_gather", "broadcast")
DEVIATIONS = (
    Deviation("raises", 14, _anywhere(_any(troubles.raises))),
    Deviation("sleeps", 9, _anywhere(_any(troubles.sleeps))),
    Deviation("busy", 4, _anywhere(_any(troubles.is_busy))),
    Deviation("exits", 5, _anywhere(_exits)),
    Deviation("killed", 5, _anywhere(_any(troubles.is_killed))),
    Deviation("stopped", 3, _anywhere(_any(troubles.is_stopped))),
    Deviation("leaves early", 4, _leaves),
    Deviation("skips", 7, _skips, COLLECTIVES),
    Deviation("enters another", 5, _enters_another, COLLECTIVES),
    Deviation("other shape", 5, _reshapes, _SIZED),
    Deviation("other dtype", 3, _retypes, _SIZED),
    Deviation("other root", 3, _takes_another_root, ("broadcast", "reduce")),
    Deviation("one round less", 3, _fewer),
    Deviation("one round more", 2, _more),
    Deviation("receives in vain", 3, _receives_in_vain),
    Deviation("thread raises", 5, _at("thread", trouble=_any(troubles.raises)), _READER),
    Deviation("thread sleeps", 3, _at("thread", trouble=_any(troubles.sleeps)), _READER),
    Deviation("queue is empty", 3, _queue_is_empty, _READER),
    Deviation("lock is held", 3, _at("holder", trouble=_any(troubles.sleeps), at=">="), _LOCK),
    Deviation("locks cross", 3, _locks_cross, _LOCK),
    Deviation("child raises", 4, _child(_plain(troubles.raises)), _CHILDREN),
    Deviation("child sleeps", 4, _child(_plain(troubles.sleeps)), _CHILDREN),
    Deviation("child is not asked", 3, _asks_nothing, _ASKED),
    Deviation("command sleeps", 2, _command("sleep", "4000"), ("command",)),
    Deviation("command fails", 2, _command("sh", "-c", "exit 4"), ("command",)),
    Deviation("key never set", 3, _waits_for_a_key, ("store",)),
    Deviation("file never written", 3, _waits_for_a_file, ("file",)),
)
