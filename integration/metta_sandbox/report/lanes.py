"""The lanes of a scenario's picture, harness, nodes, ranks and API, and the bands on them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from metta_sandbox.node.agent.events import Name
from metta_sandbox.scenario.names import API
from metta_sandbox.timeline.recording import Event

TRIALS = "trials"
HARNESS = "harness"
#: What trainers and the agent, for them, say is of a rank; all else is of its node.
_OF_RANKS = ("train.", "rank.", "checkpoint.")
#: What a band's beginning and end are called, and what the band shows.
_BANDS: Mapping[Name, tuple[Name, str]] = {
    "rank.started": ("rank.exited", "process"),
    "train.started": ("train.finished", "training"),
    "rollout.started": ("rollout.finished", "rollout"),
}
_ENDS = dict(_BANDS.values())
#: What a trial's band is made of.
_OF_TRIALS: Collection[Name] = ("suggestion.made", "run.named", "observation.recorded")
_SERVER_ERROR = 500
#: The kinds of marks by the first word of an event's name.
_KINDS = {
    "api": "request",
    "checkpoint": "checkpoint",
    "eval": "sweep",
    "fault": "fault",
    "handoff": "hand-off",
    "observation": "sweep",
    "rank": "trainer",
    "rollout": "sweep",
    "run": "sweep",
    "suggestion": "sweep",
    "train": "trainer",
    "trial": "hand-off",
}


@dataclass
class Band:
    """A stretch of time on a lane, in seconds; without an ``end`` it never came to one."""

    lane: str
    kind: str
    start: float
    label: str
    status: str = "unfinished"
    end: float | None = None
    text: str = ""


@dataclass
class _Lane:
    label: str
    kind: str
    order: tuple[int, int, str]


@dataclass
class Lanes:
    """Lanes in the order they are drawn, with the bands on them."""

    _lanes: dict[str, _Lane] = field(default_factory=dict)
    _bands: list[Band] = field(default_factory=list)
    _open: dict[tuple[str, str, str], Band] = field(default_factory=dict)
    _ranks: dict[str, int] = field(default_factory=dict)
    _duration: float = 0.0

    def event(self, event: Event, time: float) -> str:
        """Take in an event; give the lane that the event belongs to."""
        name, node, rank = event.name, str(event.get("node", "")), event.get("rank")
        if isinstance(node_rank := event.get("node_rank"), int):
            self._ranks.setdefault(node, node_rank)
        if name.startswith(_OF_RANKS) and isinstance(rank, int):
            lane = self._of_rank(node, rank, time)
        else:
            lane = self._of_node(node, time)
        who = str(event.get("group", ""))
        if name in _BANDS:
            self._begin(lane, _BANDS[name][1], who, time, str(event.get("run", "")))
        elif name in _ENDS:
            status = "failed" if is_failure(event) else "completed"
            self._finish(lane, _ENDS[name], who, time, status)
        self._follow_trial(event, time)
        return lane

    def of_line(self, node: str, source: str, time: float) -> str:
        """Give the lane that a printed line belongs to."""
        word, _, rank = source.partition("-")
        if word == "rank" and rank.isdigit():
            return self._of_rank(node, int(rank), time)
        return self._of_node(node, time)

    def fault(self, entry: Mapping[str, Any], time: float) -> str:
        """Take in an action on a fault; give the lane of the node that the fault strikes."""
        detail = entry.get("detail")
        node = str(detail.get("node", "")) if isinstance(detail, Mapping) else ""
        lane = node if node in self._lanes else self.harness(time)
        name, action = str(entry["fault"]), str(entry.get("action", ""))
        if action == "struck":
            self._begin(lane, "fault", name, time, name)
        elif action == "healed":
            for (there, kind, who), band in list(self._open.items()):
                if (kind, who) == ("fault", name):
                    self._finish(there, kind, who, time, "completed")
                    lane = band.lane
        return lane

    def harness(self, time: float) -> str:
        """Give the lane of the harness itself."""
        return self._lane(HARNESS, HARNESS, "harness", (1, 0, ""), time)

    def to_json(self) -> dict[str, Any]:
        """Give lanes, top down, and bands, those without an end ending with the picture."""
        for lane, made in self._lanes.items():
            group, rank, name = made.order
            node = lane.split("#")[0]
            if group == 2:  # noqa: PLR2004 - nodes, see _of_node
                made.order = (2, self._ranks.get(node, 1_000_000), f"{name}{rank:09}")
        ordered = sorted(self._lanes.items(), key=lambda pair: pair[1].order)
        return {
            "duration": self._duration,
            "lanes": [
                {"id": lane, "label": made.label, "kind": made.kind} for lane, made in ordered
            ],
            "bands": [
                {
                    "lane": band.lane,
                    "kind": band.kind,
                    "label": band.label,
                    "status": band.status,
                    "start": round(band.start, 4),
                    "end": round(self._duration if band.end is None else band.end, 4),
                    "text": band.text,
                }
                for band in self._bands
            ],
        }

    def _follow_trial(self, event: Event, time: float) -> None:
        name, trial, run = event.name, event.get("trial"), event.get("run")
        if name not in _OF_TRIALS:
            return
        lane = self._lane(TRIALS, TRIALS, "trials", (0, 0, ""), time)
        key = (lane, "trial", str(trial))
        if key not in self._open and name != "observation.recorded":
            self._begin(*key, time, f"trial {trial}")
        band = self._open.get(key)
        if band and run is not None:
            band.label = str(run)
        if band and name == "observation.recorded":
            failed = is_failure(event)
            score = event.get("score")
            band.text = str(event.get("reason", "")) if failed else f"score {score}"
            self._finish(*key, time, "failed" if failed else "completed")

    def _begin(self, lane: str, kind: str, who: str, time: float, label: str) -> None:
        band = Band(lane, kind, time, label)
        self._bands.append(band)
        self._open[lane, kind, who] = band

    def _finish(self, lane: str, kind: str, who: str, time: float, status: str) -> None:
        band = self._open.pop((lane, kind, who), None)
        if band:
            band.end, band.status = time, status

    def _of_rank(self, node: str, rank: int, time: float) -> str:
        self._of_node(node, time)
        return self._lane(f"{node}#{rank}", f"rank {rank}", "rank", (2, rank + 1, node), time)

    def _of_node(self, node: str, time: float) -> str:
        if node == API:
            return self._lane(API, API, "api", (3, 0, ""), time)
        return self._lane(node, node, "node", (2, 0, node), time)

    def _lane(
        self, name: str, label: str, kind: str, order: tuple[int, int, str], time: float
    ) -> str:
        if name not in self._lanes:
            self._lanes[name] = _Lane(label, kind, order)
        self._duration = max(self._duration, time)
        return name


def is_failure(event: Event) -> bool:
    """Tell whether an event says that something went wrong."""
    status = event.get("status")
    if event.get("failed") is True:
        return True
    if event.name == "rank.exited":
        return isinstance(status, int) and status != 0
    return event.name == "api.request" and isinstance(status, int) and (status >= _SERVER_ERROR)


def kind_of(event: Event) -> str:
    """Say which kind of mark an event is."""
    if is_failure(event):
        return "failure"
    if event.name == "train.step":
        return "step"
    return _KINDS.get(event.name.partition(".")[0], "event")
