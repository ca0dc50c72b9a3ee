from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from rich.console import Console

from metta_sandbox.report import live
from metta_sandbox.report.console import Reporter
from metta_sandbox.report.live import LiveReporter, make_reporter
from metta_sandbox.report.scene import Scene
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.timeline.recording import Event

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
SCENARIO = Scenario.model_validate({"version": 1, "name": "basic", "sweep": {"trials": 4}})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def event(name: str, node: str = "sweep-master", **fields: Any) -> Event:
    return Event(1.0, {"event": name, "node": node, **fields})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scene(clock: Clock) -> Scene:
    return Scene(SCENARIO, 2, 3, clock)


def drawn(scene: Scene) -> str:
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as capture:
        console.print(scene.render())
    return capture.get()


def a_trial(number: int, clock: Clock, seconds: float, **outcome: Any) -> list[Callable[[], Event]]:
    def over() -> Event:
        clock.now += seconds
        return event("observation.recorded", trial=number, run=f"basic.r.{number}", **outcome)

    return [lambda: event("suggestion.made", trial=number), over]


def test_at_first_everybody_is_coming_up(scene: Scene) -> None:
    text = drawn(scene)
    assert "basic (2 of 3)" in text
    assert text.count("coming up") == 3


def test_nodes_show_what_they_do_now(scene: Scene) -> None:
    scene.take(event("handoff.sent", trial=1, run="basic.r.1"))
    scene.take(event("train.step", "sweep-worker", trial=1, step=37, loss=0.04557))
    scene.take(event("api.request", "dummy-api", method="GET", path="/sweeps/a", status=503))
    text = drawn(scene)
    assert "sweep-master  trial 1: handed off" in text
    assert "sweep-worker  trial 1: training, step 37, loss 0.04557" in text
    assert "dummy-api     1 requests, last GET /sweeps/a -> 503" in text


def test_trials_show_their_scores_and_how_long_it_may_take(scene: Scene, clock: Clock) -> None:
    assert "left" not in drawn(scene).partition("deadline")[0]
    for step in (*a_trial(1, clock, 10, score=2.5), *a_trial(2, clock, 20, failed=True)):
        scene.take(step())
    text = drawn(scene)
    assert "2 of 4 trials, about 30.0 s left" in text
    assert "basic.r.1  completed  2.5  10.0 s" in text
    assert "basic.r.2  failed          20.0 s" in text
    scene.take(event("suggestion.made", trial=3))
    clock.now += 5
    assert "about 25.0 s left" in drawn(scene)


def test_steps_and_requests_do_not_push_other_events_out(scene: Scene) -> None:
    scene.take(event("run.named", trial=1, run="basic.r.1"))
    for step in range(100):
        scene.take(event("train.step", trial=1, step=step))
    assert "* run.named" in drawn(scene)


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=80, height=30)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_whatever_ends_it_the_cursor_is_back() -> None:
    console = terminal()
    with suppress(KeyboardInterrupt), LiveReporter(console=console) as reporter:
        reporter.begin(SCENARIO, 1, 1)
        raise KeyboardInterrupt
    text = written(console)
    assert text.count(HIDE) == 1
    assert text.rfind(SHOW) > text.rfind(HIDE)


def test_events_alone_draw_nothing() -> None:
    console = terminal()
    with LiveReporter(console=console) as reporter:
        reporter.begin(SCENARIO, 1, 1)
        before = len(written(console))
        for step in range(10_000):
            reporter.event(event("train.step", trial=1, step=step))
        # Whatever the clock drew meanwhile is no more than a few views.
        assert len(written(console)) - before < 20_000


def test_a_pipe_gets_plain_lines_also_with_colours_forced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with make_reporter(quiet=False, verbose=False) as reporter:
        reporter.begin(SCENARIO, 1, 1)
        reporter.event(event("run.named"))
    assert HIDE not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"quiet": False, "verbose": False}, LiveReporter),
        ({"quiet": True, "verbose": False}, Reporter),
        ({"quiet": False, "verbose": True}, Reporter),
    ],
)
def test_a_terminal_gets_the_view_unless_asked_otherwise(
    options: dict[str, bool], kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(live, "plain_console", terminal)
    monkeypatch.setenv("TERM", "xterm")
    assert type(make_reporter(**options)) is kind


def test_verbose_prints_every_event_and_quiet_none(capsys: pytest.CaptureFixture[str]) -> None:
    Reporter(verbose=True).event(event("train.step", trial=1, step=3))
    assert "* train.step" in capsys.readouterr().out
    Reporter(verbose=True, quiet=True).event(event("train.step"))
    Reporter().event(event("train.step"))
    assert capsys.readouterr().out == ""
