"""What a scenario being played looks like now: its nodes, its trials, what happened last."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from metta_sandbox.node.agent.events import Name
from metta_sandbox.report.console import shown
from metta_sandbox.report.wording import figure, seconds
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.names import API
from metta_sandbox.timeline.recording import Event, render
from metta_sandbox.words import many

_MOST_NODES = 12
_MOST_TRIALS = 6
_LAST_EVENTS = 4
#: Too many of these come for each to be worth a line.
_FREQUENT: frozenset[Name] = frozenset(("train.step", "api.request"))
_DOING: Mapping[Name, str] = {
    "rollout.started": "joined the sweep",
    "suggestion.made": "has a suggestion, asks for a run name",
    "run.named": "opens the W&B run",
    "handoff.sent": "handed off",
    "handoff.received": "got the hand-off",
    "rank.started": "starting trainers",
    "train.started": "training",
    "train.finished": "trained",
    "checkpoint.saved": "saved a checkpoint",
    "rank.exited": "trainers ended",
    "eval.finished": "evaluated",
    "observation.recorded": "recorded the observation",
    "rollout.finished": "done",
}


@dataclass
class _TrialRow:
    run: str
    began: float
    status: str = "running"
    score: float | None = None
    took: float | None = None
    step: int | None = None


class Scene:
    """What one scenario is doing now.

    Args:
        scenario: What is played.
        number: Its place among those of the run, from 1.
        count: How many the run plays.
        clock: Seconds on a clock that never goes back.

    """

    def __init__(
        self,
        scenario: Scenario,
        number: int,
        count: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scenario = scenario
        self._title = scenario.name if count == 1 else f"{scenario.name} ({number} of {count})"
        self._clock = clock
        self._began = clock()
        self._nodes = dict.fromkeys(scenario.hosts, "coming up")
        self._requests = 0
        self._api = "coming up"
        self._trials: dict[int, _TrialRow] = {}
        self._last: deque[Event] = deque(maxlen=_LAST_EVENTS)

    def take(self, event: Event) -> None:
        """Take in an event; quick, since there may be thousands a second."""
        node = str(event.get("node", ""))
        if node in self._nodes:
            self._nodes[node] = _doing(event)
        elif node == API:
            self._take_api(event)
        trial = event.get("trial")
        if isinstance(trial, int):
            self._take_trial(trial, event)
        if event.name not in _FREQUENT:
            self._last.append(event)

    def render(self) -> RenderableType:
        """Draw the scene for the terminal."""
        parts: list[RenderableType] = [Text(""), self._head(), self._node_table()]
        if self._trials:
            parts += [Text(""), self._trial_table()]
        if self._last:
            lines = (render(event.to_json()) for event in self._last)
            parts += [Text(""), *(_cut(shown(line, "dim")) for line in lines)]
        return Group(*parts)

    def _take_api(self, event: Event) -> None:
        if event.name == "api.request":
            self._requests += 1
            asked = f"{event.get('method')} {event.get('path')} -> {event.get('status')}"
            self._api = f"{self._requests} requests, last {asked}"
        else:
            self._api = "ready"

    def _take_trial(self, number: int, event: Event) -> None:
        trial = self._trials.get(number)
        if trial is None:
            trial = self._trials[number] = _TrialRow(f"trial {number}", self._clock())
        if event.get("run"):
            trial.run = str(event.get("run"))
        if event.name == "train.step":
            trial.step = event.get("step")
        elif event.name == "observation.recorded":
            trial.status = "failed" if event.get("failed") else "completed"
            score = event.get("score")
            trial.score = score if isinstance(score, (int, float)) else None
            trial.took = self._clock() - trial.began

    def _head(self) -> Text:
        passed = self._clock() - self._began
        done = [trial for trial in self._trials.values() if trial.took is not None]
        wanted = self._scenario.sweep.trials
        text = Text.assemble(shown(self._title, "bold"), f"  {seconds(passed)}")
        text.append(f"  {len(done)} of {many(wanted, 'trial')}")
        if (left := self._left(done)) is not None:
            text.append(f", about {seconds(left)} left")
        limit = self._scenario.deadline - passed
        text.append(f"  deadline in {seconds(max(limit, 0))}", "dim" if limit > 0 else "red")
        return text

    def _left(self, done: list[_TrialRow]) -> float | None:
        """Guess the seconds that are left from what trials took so far; None before the first."""
        taken = [trial.took for trial in done if trial.took is not None]
        if not taken:
            return None
        each = sum(taken) / len(taken)
        running = [trial for trial in self._trials.values() if trial.took is None]
        spent = sum(min(self._clock() - trial.began, each) for trial in running)
        return max((self._scenario.sweep.trials - len(done)) * each - spent, 0.0)

    def _node_table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        hosts = list(self._nodes.items())
        for host, doing in hosts[:_MOST_NODES]:
            table.add_row(Text(f"  {host}", "cyan"), shown(doing))
        if len(hosts) > _MOST_NODES:
            table.add_row(Text(f"  … {len(hosts) - _MOST_NODES} more", "dim"), "")
        table.add_row(Text(f"  {API}", "cyan"), shown(self._api))
        return table

    def _trial_table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for justify in ("left", "left", "right", "right"):
            table.add_column(justify=justify, no_wrap=True)
        styles = {"completed": "green", "failed": "red", "running": ""}
        for trial in list(self._trials.values())[-_MOST_TRIALS:]:
            took = self._clock() - trial.began if trial.took is None else trial.took
            step = "" if trial.step is None else f"step {trial.step}"
            said = step if trial.status == "running" and step else trial.status
            score = "" if trial.score is None else figure(trial.score)
            style = styles[trial.status]
            cells = (f"  {trial.run}", said, score, seconds(took))
            table.add_row(*(shown(cell, style) for cell in cells))
        return table


def _doing(event: Event) -> str:
    trial = f"trial {event.get('trial')}: " if event.get("trial") is not None else ""
    if event.name == "train.step":
        loss = event.get("loss")
        shown = f", loss {loss:.4g}" if isinstance(loss, (int, float)) else ""
        return f"{trial}training, step {event.get('step')}{shown}"
    return f"{trial}{_DOING.get(event.name, event.name)}"


def _cut(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
