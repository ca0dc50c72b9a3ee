"""The report as a person reads it: on a terminal in colours, elsewhere plain."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from metta_sandbox.doctor.item import NEEDS_AN_ENGINE, DoctorItem, DoctorReport, Status
from metta_sandbox.safe_text import for_runner

_STYLES = {
    Status.OK: "green",
    Status.WARNING: "bold yellow",
    Status.MISSING: "bold red",
    Status.UNKNOWN: "cyan",
}
_STATUS_WIDTH = max(len(status.value) for status in Status)


def show(report: DoctorReport, console: Console | None = None) -> None:
    """Print the report, and at its end what can be played here."""
    console = Console(highlight=False) if console is None else console
    waiting = [item.name for item in report.items if item.found == NEEDS_AN_ENGINE]
    width = max(len(item.name) for item in report.items)
    for item in report.items:
        if item.name not in waiting:
            console.print(_line(item, width), soft_wrap=True)
    if waiting:
        text = Text(f"{NEEDS_AN_ENGINE}: {', '.join(waiting)}", style="dim")
        console.print(text, soft_wrap=True)
    console.print(_conclusion(report), soft_wrap=True)


def _line(item: DoctorItem, width: int) -> Text:
    head = f"{item.status.value:{_STATUS_WIDTH}}"
    text = Text.assemble(
        (head, _STYLES[item.status]), f"  {item.name:{width}}  ", for_runner(item.found)
    )
    text.append(f"   (needed: {item.needed})", style="dim")
    if item.mend:
        text.append(f"\n{'':{_STATUS_WIDTH + width + 4}}-> {for_runner(item.mend)}")
    return text


def _conclusion(report: DoctorReport) -> Text:
    if report.ok:
        warnings = sum(item.status is Status.WARNING for item in report.items)
        text = Text("Scenarios can be played on Docker here", style="bold green")
        if warnings:
            text.append("; what a warning names is skipped, fails, or is slower")
        return text
    text = Text("Scenarios can't be played on Docker here", style="bold red")
    if report.process:
        text.append("; on local processes they can: metta-sandbox run --engine process")
    return text
