"""A program from a seed: the same seed, the same program and the same truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import TypeVar

from fuzz import odd
from fuzz.deviations import DEVIATIONS, WRONG, Deviation
from fuzz.draft import Draft
from fuzz.helpers import HELPERS, helper
from fuzz.operations import ALONE, COLLECTIVES, MEETING, TOGETHER, Operation, operation
from fuzz.program import RandomProgram, Truth
from fuzz.skeleton import Style, templates
from fuzz.source import MarkedSource, write

_T = TypeVar("_T")
#: Nodes and ranks of each, and how often.
_SHAPES = {
    (2, 1): 40,
    (1, 2): 14,
    (2, 2): 14,
    (3, 1): 11,
    (1, 3): 8,
    (4, 1): 7,
    (1, 4): 6,
}
#: Who starts the ranks, and how often. Most import torch again, which costs seconds.
LAUNCHERS = {
    "warm": 74,
    "plain": 6,
    "torchrun": 5,
    "run torchrun": 5,
    "run shell": 4,
    "own torchrun": 3,
    "own spawn": 3,
}
_QUICK = {"warm": 10.0, "plain": 14.0}
_SLOW = 25.0
_WEIGHTS = {one: one.weight for one in DEVIATIONS}
_HEALTHY = 0.08
_ODD = 0.25
#: A group that waits for so many seconds, and no longer.
_PATIENCE = 5
_NAMES = [
    f"{verb}_{noun}"
    for verb in ("share", "average", "collect", "check", "sync", "fetch", "mix", "update", "weigh")
    for noun in ("loss", "stats", "rows", "scores", "state", "batch", "counts", "metrics")
]
_HEALTHY_ONE = Deviation("healthy", 0, lambda _draw, _draft: ({}, Truth("healthy", place=False)))


def generate(seed: int, *, planted: bool = True) -> RandomProgram:
    """Make the program of a seed; or the same without what goes wrong, to see that it ends."""
    draw = Random(seed)
    healthy = draw.random() < _HEALTHY
    while True:
        deviation = _HEALTHY_ONE if healthy else _one_of(draw, _WEIGHTS)
        if program := _attempt(draw, seed, deviation, planted=planted):
            return program


def _attempt(
    draw: Random, seed: int, deviation: Deviation, *, planted: bool
) -> RandomProgram | None:
    healthy = deviation is _HEALTHY_ONE
    nodes, each = _one_of(draw, _SHAPES)
    launcher = _one_of(draw, LAUNCHERS)
    if launcher == "run shell" and each > 1:
        nodes, each = nodes * each, 1
    draft = _draft(draw, deviation, nodes * each, each, launcher)
    changed = deviation.make(draw, draft)
    if changed is None:
        return None
    fills, truth = changed
    features = [f"{nodes}x{each}", launcher, deviation.name, f"trains in {draft.style.fit}"]
    features += [one.kind for one in (*draft.loop, *draft.finals)]
    if healthy:
        word, more = odd.alone(draw, draft.world, draft.style.steps)
    elif draw.random() < _ODD:
        word, more = odd.beside(draw, draft.world)
    else:
        word, more = "", {}
    if word:
        features.append(f"odd: {word}")
    if draft.style.patience:
        features.append("short time-out")
    written = {name: write(text, _joined(more, fills)) for name, text in draft.templates.items()}
    files = {name: one.text for name, one in written.items()}
    if not planted:
        files = {name: write(text, more).text for name, text in draft.templates.items()}
    if launcher == "run shell":
        files["train.sh"] = _shell(draw)
    return RandomProgram(
        seed=seed,
        nodes=nodes,
        each=each,
        launcher=launcher,
        files=files,
        truth=replace(truth, deviation=deviation.name, lines=_lines(truth, written)),
        features=tuple(dict.fromkeys(features)),
        silence=_QUICK.get(launcher, _SLOW),
    )


def _draft(draw: Random, deviation: Deviation, world: int, each: int, launcher: str) -> Draft:
    names = draw.sample(_NAMES, len(_NAMES))
    kinds = [draw.choice(MEETING), *draw.sample(COLLECTIVES, draw.randint(0, 2))]
    kinds += draw.sample(TOGETHER[1 if world == 2 else 0 :], draw.choice((0, 0, 1, 1)))
    kinds += draw.sample(HELPERS, draw.choice((0, 0, 0, 1)))
    kinds += [draw.choice(ALONE) for _ in range(draw.choice((0, 1, 1, 2)))]
    if deviation.needs and not set(deviation.needs) & set(kinds):
        kinds.append(draw.choice(deviation.needs))
    kinds = list(dict.fromkeys(kinds))
    draw.shuffle(kinds)
    loop = tuple(
        helper(draw, f"o{number}", kind, names)
        if kind in HELPERS
        else operation(draw, f"o{number}", kind, names, world)
        for number, kind in enumerate(kinds, start=1)
    )
    style = Style(
        steps=draw.randint(6, 12),
        fit=draw.choice(("main", "main", "main", "main", "thread", "future")),
        told=draw.choice(("", "first", "all")),
        patience=_PATIENCE if _may_be_short(deviation, launcher) and draw.random() < 0.25 else None,
        apart=draw.random() < 0.35,
        spawns=launcher == "own spawn",
        each=each,
    )
    finals = _finals(draw, loop, names, world)
    return Draft(
        style=style,
        loop=loop,
        finals=finals,
        templates=templates(style, loop, finals),
        world=world,
        rank=draw.randrange(world),
        step=0 if draw.random() < 0.12 else draw.randint(1, style.steps - 4),
    )


def _may_be_short(deviation: Deviation, launcher: str) -> bool:
    """Say where a short time-out would not end what only starts slowly."""
    return launcher in _QUICK and deviation is not _HEALTHY_ONE


def _finals(
    draw: Random, loop: tuple[Operation, ...], names: list[str], world: int
) -> tuple[Operation, ...]:
    """Draw what comes after the loop: nothing, or a collective of a slot that it has not."""
    slots = {one.slot for one in loop}
    kinds = [kind for kind in ("barrier", "all_gather", "all_reduce") if kind not in slots]
    if not kinds or draw.random() < 0.4:
        return ()
    return (operation(draw, "f1", draw.choice(kinds), names, world),)


def _shell(draw: Random) -> str:
    call = draw.choice(("python train.py", "python -u train.py", "python train.py | tee train.log"))
    return f'set -eo pipefail\nexport OMP_NUM_THREADS=1\necho "node $NODE_INDEX starts"\n{call}\n'


def _joined(one: Mapping[str, list[str]], other: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {key: [*one.get(key, ()), *other.get(key, ())] for key in {*one, *other}}


def _lines(truth: Truth, written: Mapping[str, MarkedSource]) -> tuple[str, ...]:
    """Turn the truth's marks into files and lines."""
    stands = [(mark, f"{name}:{line}") for name, one in written.items() for mark, line in one.marks]
    if WRONG in truth.lines and WRONG not in dict(stands):
        raise AssertionError("what goes wrong is marked nowhere")
    return tuple(place for mark, place in stands if mark in truth.lines)


def _one_of(draw: Random, weights: Mapping[_T, int]) -> _T:
    return draw.choices(list(weights), list(weights.values()))[0]
