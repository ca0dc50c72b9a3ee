"""How outcomes are shown: tables on the terminal, and a part of a Markdown file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from statistics import median

from rich.table import Table

from benchmarks.kept import Kept, latest
from benchmarks.outcome import ContestOutcome, Entry, JudgedGoal, fastest_peer, ratio

BEGIN = "<!-- bench: written by `nox -s bench -- --write`, do not edit -->"
END = "<!-- /bench -->"
#: How many parts can be told in a line.
_FEW = 4
_HEADS = ("who", "median", "least", "most", "of fastest peer", "goal")


def table(outcome: ContestOutcome) -> Table:
    """Show an outcome on a terminal."""
    shown = Table(title=outcome.title, title_justify="left", caption_justify="left")
    for number, head in enumerate(_heads(outcome)):
        shown.add_column(head, justify="left" if number in {0, 5} else "right")
    shown.caption = "\n".join(f"{one.name}: {one.reason}" for one in outcome.entries if one.reason)
    for entry in outcome.entries:
        style = {"ours": "bold", "floor": "dim"}.get(entry.kind)
        shown.add_row(*_cells(outcome, entry), style=style)
    return shown


def markdown(runs: Sequence[Kept]) -> str:
    """Write the last outcome of each contest as Markdown, with every raw number."""
    chosen = latest(runs)
    used = {id(run): run for run, _ in chosen}
    parts = [
        _about(run, [outcome for one, outcome in chosen if one is run])
        for run in sorted(used.values(), key=lambda one: one.taken)
    ]
    return "\n".join(
        [
            *parts,
            "Every single number, in the order in which they were taken:",
            "",
            *_raw([outcome for _, outcome in chosen]),
        ]
    )


def insert(text: str, part: str) -> str:
    """Put a part between the markers of a text; where there are none, they are put at its end.

    Raises:
        ValueError: There is one marker without the other, or one of them twice.

    """
    if BEGIN not in text and END not in text:
        return f"{text.rstrip()}\n\n{BEGIN}\n\n{part.strip()}\n\n{END}\n"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before + after:
        raise ValueError(f"expected {BEGIN} and then {END}, each once")
    return f"{before}{BEGIN}\n\n{part.strip()}\n\n{END}{after}"


def _about(run: Kept, outcomes: Sequence[ContestOutcome]) -> str:
    taken = datetime.fromisoformat(run.taken)
    on = ", ".join(f"{name}: {what}" for name, what in run.machine.items())
    using = ", ".join(f"{name} {number}" for name, number in run.versions.items())
    when = f"Taken on {taken:%Y-%m-%d at %H:%M} UTC, contestants in turns."
    when += " Only a quick try: one round." if run.quick else ""
    lines = [f"{when} Machine: {on}. With {using}.", ""]
    for outcome in outcomes:
        lines += [*_section(outcome), ""]
    return "\n".join(lines)


def _section(outcome: ContestOutcome) -> list[str]:
    heads = _heads(outcome)
    rows = [
        f"| {' | '.join([*_cells(outcome, entry), _what(outcome, entry)])} |"
        for entry in outcome.entries
    ]
    return [
        f"### {outcome.title}",
        "",
        outcome.note,
        "",
        f"| {' | '.join(heads)} | what is measured |",
        f"| --- | {'---: | ' * 4}--- | --- |",
        *rows,
        *_apart(outcome),
    ]


def _apart(outcome: ContestOutcome) -> list[str]:
    """Say of what the medians are made, where that is the same few parts for all."""
    able = [entry for entry in outcome.entries if entry.median is not None]
    names = {tuple(parts) for entry in able for parts in entry.parts}
    if len(names) != 1 or not 0 < len(one := next(iter(names))) <= _FEW:
        return []
    said = "; ".join(f"{entry.name} {_medians(entry, one)}" for entry in able)
    return ["", f"Medians of the parts: {said}."]


def _medians(entry: Entry, names: Sequence[str]) -> str:
    middle = {name: median([parts[name] for parts in entry.parts]) for name in names}
    return ", ".join(f"{name} {_number(value)}" for name, value in middle.items())


def _heads(outcome: ContestOutcome) -> tuple[str, ...]:
    rounds = max((len(entry.values) for entry in outcome.entries), default=0)
    many = "round" if rounds == 1 else "rounds"
    return (_HEADS[0], f"median of {rounds} {many}, {outcome.unit}", *_HEADS[2:])


def _cells(outcome: ContestOutcome, entry: Entry) -> tuple[str, ...]:
    goals = "; ".join(_goal(goal) for goal in outcome.goals if goal.of == entry.name)
    if entry.median is None:
        return (entry.name, "can't", "", "", "", goals)
    times = ratio(entry, fastest_peer(outcome.entries))
    return (
        entry.name,
        _number(entry.median),
        _number(min(entry.values)),
        _number(max(entry.values)),
        "" if times is None else f"{times:.2f}",
        goals,
    )


def _what(outcome: ContestOutcome, entry: Entry) -> str:
    if entry.reason:
        return f"{entry.about}. Can't: {entry.reason.replace('|', ';')}"
    most = max(len(one.values) for one in outcome.entries)
    return f"{entry.about}; once" if len(entry.values) == 1 < most else entry.about


def _goal(goal: JudgedGoal) -> str:
    verdict = {True: "met", False: "missed", None: "not measured"}[goal.met]
    shown = f" ({goal.figure})" if goal.met is not None else ""
    return f"{goal.text}: {verdict}{shown}"


def _number(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"


def _raw(outcomes: Sequence[ContestOutcome]) -> list[str]:
    lines = ["| contest | who | values |", "| --- | --- | --- |"]
    for outcome in outcomes:
        for entry in outcome.entries:
            pairs = zip(entry.values, entry.parts, strict=True)
            values = "; ".join(_value(value, parts) for value, parts in pairs)
            lines.append(f"| {outcome.key} | {entry.name} | {values or 'none'} |")
    return lines


def _value(value: float, parts: dict[str, float] | object) -> str:
    if not isinstance(parts, dict) or not parts:
        return _number(value)
    apart = ", ".join(f"{name} {_number(one)}" for name, one in parts.items())
    return f"{_number(value)} ({apart})"
