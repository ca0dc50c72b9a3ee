"""What a person sees while scenarios are played, and at their end."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from metta_sandbox.masking import masked
from metta_sandbox.report.results import CheckResult, RunResult, ScenarioResult, TrialResult
from metta_sandbox.report.wording import explain, without
from metta_sandbox.safe_text import for_console
from metta_sandbox.timeline.recording import Event, render
from metta_sandbox.verdict import Verdict
from metta_sandbox.words import many

if TYPE_CHECKING:
    from metta_sandbox.scenario.model import Scenario

STYLES = {
    Verdict.PASSED: "bold green",
    Verdict.FAILED: "bold red",
    Verdict.INCONCLUSIVE: "bold yellow",
    Verdict.SKIPPED: "bold cyan",
    Verdict.ERROR: "bold red",
}
_NOT_ON_A_TERMINAL = 160
_SET_IN = "      "


class Reporter:
    """Prints progress, a table for each scenario, and the final verdict.

    Colours only on a terminal, and not with ``NO_COLOR``.

    Args:
        quiet: Print nothing but what did not pass, and the final verdict.
        verbose: Print every event, too.
        console: Where to print. Default: standard output.

    """

    def __init__(
        self, *, quiet: bool = False, verbose: bool = False, console: Console | None = None
    ) -> None:
        self._quiet = quiet
        self._verbose = verbose and not quiet
        self._console = console or plain_console()
        # Scenarios that are played beside each other tell of themselves from threads.
        self._whole = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """End whatever is drawn over and over; nothing here."""

    def begin(self, scenario: Scenario, number: int, count: int, of: str = "") -> None:
        """Say which scenario is played now.

        Args:
            scenario: What is played.
            number: Its place among those of the run, from 1.
            count: How many the run plays.
            of: Names it in what is told of it, if others are played beside it.

        """
        self.step(f"scenario {scenario.name} ({number} of {count})", of)

    def event(self, event: Event, of: str = "") -> None:
        """Take note of something that a node says of itself."""
        if self._verbose:
            self._print(_whose(of).append_text(shown(render(event.to_json()), "dim")))

    def raw(self, text: str) -> None:
        """Print a line as it is, for programs: text of others in it must be safe already."""
        self._console.out(masked(text), highlight=False)

    def step(self, text: str, of: str = "") -> None:
        """Print a line of progress, of one of several scenarios that are played at once."""
        if not self._quiet:
            self._print(Text.assemble(("· ", "dim"), _whose(of), shown(text)))

    def line(self, text: str) -> None:
        """Print a line of a task's own, as it is followed."""
        if not self._quiet:
            self._print(shown(text))

    def warn(self, text: str) -> None:
        """Print a line that also a quiet run shows, such as a fallback to another engine."""
        self._print(Text.assemble(("! ", "bold yellow"), shown(text)))

    def scenario(self, result: ScenarioResult, of: str = "") -> None:  # noqa: ARG002
        """Print how one scenario came out, in one piece."""
        with self._whole:
            self._show(result)

    def _show(self, result: ScenarioResult) -> None:
        warnings = [check.warning for check in result.checks if check.warning]
        if self._quiet and result.verdict.is_well and not warnings:
            return
        head = Text.assemble(_badge(result.verdict), " ", shown(result.name))
        head.append(f"  {many(result.nodes, 'node')} on {result.engine}, {result.seconds:.1f} s")
        for warning in warnings:
            head.append("  warning: ", "bold yellow").append_text(shown(warning))
        self._print(head)
        if result.left_out.count:
            self._print(shown(f"  left out of the artifacts: {without(result.left_out)}"))
        for cause in result.causes if result.verdict is not Verdict.PASSED else ():
            self._print(shown(f"  cause: {cause.told}", "bold"))
        if result.reason:
            self._print(shown(f"  {result.reason}"))
        if result.trials:
            self._console.print(_trials(result.trials))
        for fault in result.faults:
            proof = fault.proof or ("no proof that it happened" if fault.fired else "never fired")
            self._print(shown(f"  fault {fault.name}: {proof}"))
        for check in result.checks:
            if check.verdict is not Verdict.PASSED:
                self._print(_check(check))

    def finish(self, result: RunResult, folder: Path | None) -> None:
        """Print the final verdict, and where the artifacts are, if there are any."""
        counts = [
            f"{count} {verdict}"
            for verdict in Verdict
            if (count := sum(one.verdict is verdict for one in result.scenarios))
        ]
        line = Text.assemble(_badge(result.verdict), "  ")
        line.append(", ".join(counts) or "nothing was played")
        line.append(f" in {result.seconds:.1f} s")
        if folder is not None:
            line.append_text(shown(f" · artifacts in {folder}"))
        self._print(line)

    def _print(self, text: Text) -> None:
        with self._whole:
            self._console.print(text, soft_wrap=True)


def shown(text: str, style: str = "") -> Text:
    """Give text of others to Rich, without secrets.

    Its further lines are set in: none passes for one of ours.
    """
    return Text(for_console(text).replace("\n", f"\n{_SET_IN}"), style)


def plain_console() -> Console:
    """Make a console for standard output that folds lines at a terminal's edge only."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_NOT_ON_A_TERMINAL)


def _whose(of: str) -> Text:
    return shown(f"{of}: " if of else "", "cyan")


def _badge(verdict: Verdict) -> Text:
    return Text(verdict.value.upper(), style=STYLES[verdict])


def _check(check: CheckResult) -> Text:
    head = ("  ", (check.verdict.value, STYLES[check.verdict]), " ", shown(check.name))
    told = explain(check)
    return Text.assemble(*head, f"\n{_SET_IN}", shown(told)) if told else Text.assemble(*head)


def _trials(trials: tuple[TrialResult, ...]) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for heading in ("run", "status"):
        table.add_column(heading, no_wrap=True)
    for heading in ("score", "cost", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for trial in trials:
        style = "" if trial.status == "completed" else "red"
        status = f"{trial.status}, pruned" if trial.pruned else trial.status
        cells = (trial.run or "(unnamed)", status, _number(trial.score), _number(trial.cost))
        table.add_row(*map(shown, (*cells, _number(trial.seconds, 1))), style=style)
    return table


def _number(value: float | None, digits: int | None = None) -> str:
    if value is None:
        return "-"
    return f"{value:g}" if digits is None else f"{value:.{digits}f}"
