"""How a standing stack is shown: a table, or JSON."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from metta_sandbox.report.console import shown
from metta_sandbox.safe_text import for_json
from metta_sandbox.stack.engines.base import LogLine, Part
from metta_sandbox.stack.status import StackStatus

#: Colours of nodes in logs, by turns.
_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "red")


def status_json(status: StackStatus) -> str:
    """Write a status as JSON."""
    told = {
        "version": 1,
        "well": status.well,
        "engine": status.engine,
        "parts": [asdict(part) for part in status.parts],
    }
    return for_json(told)


def show_status(status: StackStatus, console: Console) -> None:
    """Print a status as a table."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("name", "state", "rank", "address", "running", "image", "age"):
        table.add_column(heading, no_wrap=True)
    for part in status.parts:
        table.add_row(*map(shown, _cells(part)), style="red" if part.ill else "")
    console.print(table)
    for ill in status.ills:
        console.print(shown(f"! {ill}", "bold red"), soft_wrap=True)


def _cells(part: Part) -> tuple[str, ...]:
    health = f" ({part.health})" if part.health else ""
    rank = "" if part.rank is None else str(part.rank)
    running = ", ".join(part.running) or "-"
    return (
        part.name,
        f"{part.state}{health}",
        rank,
        part.address,
        running,
        part.image,
        _age(part.age),
    )


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


class LogPrinter:
    """Prints lines of logs, each behind its host's name in its host's colour.

    Args:
        hosts: All hosts whose lines may come.
        console: Where to print.

    """

    def __init__(self, hosts: tuple[str, ...], console: Console) -> None:
        self._console = console
        self._width = max(map(len, hosts))
        self._colours = {host: _COLOURS[at % len(_COLOURS)] for at, host in enumerate(hosts)}

    def show(self, line: LogLine) -> None:
        """Print a line of a log."""
        whose = (f"{line.host:<{self._width}} | ", self._colours[line.host])
        self._console.print(Text.assemble(whose, shown(line.text)), soft_wrap=True)
