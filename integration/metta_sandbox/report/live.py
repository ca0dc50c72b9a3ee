"""The live view: on a terminal, what every node and trial is doing now, below the lines printed."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from typing_extensions import Self

from metta_sandbox.masking import masked_data
from metta_sandbox.report.console import Reporter, plain_console
from metta_sandbox.report.results import RunResult, ScenarioResult
from metta_sandbox.report.scene import Scene
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.timeline.recording import Event

#: Times a second. The view is drawn anew by a clock, not by events: they may be thousands a second.
_REDRAWS = 4


class LiveReporter(Reporter):
    """Prints what ``Reporter`` prints, above a view of the scenario that is being played.

    Use it as a context manager: whatever ends it, the terminal gets its cursor back.

    Args:
        console: The terminal.

    """

    def __init__(self, *, console: Console | None = None) -> None:
        super().__init__(console=console)
        self._scenes: dict[str, Scene] = {}
        self._lock = threading.Lock()  # the view is drawn by a thread of its own
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=_REDRAWS,
            transient=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Take the live view away from the terminal."""
        self._live.stop()

    def begin(self, scenario: Scenario, number: int, count: int, of: str = "") -> None:
        """Show a scenario from now on."""
        super().begin(scenario, number, count, of)
        with self._lock:
            self._scenes[of] = Scene(scenario, number, count)
        self._live.start()

    def event(self, event: Event, of: str = "") -> None:
        """Take note of something that a node says of itself."""
        with self._lock:
            if of in self._scenes:
                self._scenes[of].take(replace(event, fields=masked_data(event.fields)))

    def scenario(self, result: ScenarioResult, of: str = "") -> None:
        """Print how one scenario came out, in place of its view."""
        with self._lock:
            self._scenes.pop(of, None)
            others = bool(self._scenes)
        if not others:
            self._live.stop()
        super().scenario(result, of)

    def finish(self, result: RunResult, folder: Path | None) -> None:
        """Print the final verdict, in place of any view."""
        self._live.stop()
        super().finish(result, folder)

    def _render(self) -> RenderableType:
        with self._lock:
            return Group(*(scene.render() for scene in self._scenes.values()))


def make_reporter(*, quiet: bool, verbose: bool) -> Reporter:
    """Give the reporter that suits the standard output: a live view on a terminal only."""
    console = plain_console()
    # Rich takes a pipe for a terminal when colours are forced; a view drawn there would be a mess.
    if quiet or verbose or not sys.stdout.isatty() or console.is_dumb_terminal:
        return Reporter(quiet=quiet, verbose=verbose, console=console)
    return LiveReporter(console=console)
