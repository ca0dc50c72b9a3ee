"""The score over what was played, for reading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.table import Table

from fuzz.kept import PlayedProgram


def show(played: Sequence[PlayedProgram], console: Console, *, misses: bool = True) -> None:
    """Print tables by deviation, launcher and feature, and each miss with its seed."""
    known = [one for one in played if one.known]
    console.print(_table("deviation", known, lambda one: [one.program["truth"]["deviation"]]))
    console.print(_table("launcher", known, lambda one: [one.program["launcher"]]))
    console.print(_table("shape", known, _shape))
    console.print(_counted(known))
    for one in played:
        if misses and not one.score.right:
            console.print(_miss(one), markup=False, highlight=False, soft_wrap=True)
    if len(known) < len(played):
        console.print(f"{len(played) - len(known)} not judged: error or skipped")
    console.print(summary(known), markup=False, highlight=False, soft_wrap=True)


def summary(known: Sequence[PlayedProgram]) -> str:
    """One line: how many are right, and how many innocent ranks were accused."""
    if not known:
        return "nothing was played"
    right = sum(one.score.right for one in known)
    placed = sum(one.score.rank and one.score.place for one in known)
    accused = sum(bool(one.score.accused) for one in known)
    share = 100 * placed / len(known)
    return (
        f"{len(known)} programs: rank and place right in {placed} ({share:.1f} in 100), "
        f"all of it in {right}; innocent accused in {accused}"
    )


def _table(
    title: str, known: Iterable[PlayedProgram], keys: Callable[[PlayedProgram], list[str]]
) -> Table:
    groups: dict[str, list[PlayedProgram]] = {}
    for one in known:
        for key in keys(one):
            groups.setdefault(key, []).append(one)
    table = Table(title, "played", "rank", "place", "said", "right", "accused")
    for key, some in sorted(groups.items()):
        scores = [one.score for one in some]
        table.add_row(
            key,
            str(len(some)),
            str(sum(one.rank for one in scores)),
            str(sum(one.place for one in scores)),
            str(sum(one.said for one in scores)),
            str(sum(one.right for one in scores)),
            str(sum(bool(one.accused) for one in scores)),
        )
    return table


def _shape(one: PlayedProgram) -> list[str]:
    ranks = one.program["truth"]["ranks"]
    shape = f"{one.program['nodes']}x{one.program['each']}"
    return [shape] + [f"rank {rank} guilty" for rank in ranks if len(ranks) == 1]


def _counted(known: Iterable[PlayedProgram]) -> Table:
    """How often each feature came."""
    counts = Counter(word for one in known for word in one.program["features"])
    table = Table("feature", "programs")
    for word, count in counts.most_common():
        table.add_row(word, str(count))
    return table


def _miss(one: PlayedProgram) -> str:
    truth, score = one.program["truth"], one.score
    wrong = [name for name in ("rank", "place", "said") if not getattr(score, name)]
    wrong += [f"accused {rank}" for rank in score.accused]
    said = "; ".join(f"[{cause.get('rank')}] {cause['sentence']}" for cause in one.causes)
    shape = f"{one.program['launcher']} {one.program['nodes']}x{one.program['each']}"
    return (
        f"seed {one.seed} ({shape}, {one.engine}): wrong: {', '.join(wrong)}\n"
        f"  true: {truth['deviation']}, ranks {truth['ranks']}, {' '.join(truth['lines'])}"
        f"{', says ' + truth['says'] if truth['says'] else ''}\n"
        f"  said: {one.verdict}: {said or one.reason or 'nothing'}"
    )
