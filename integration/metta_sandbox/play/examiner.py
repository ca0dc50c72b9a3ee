"""Looks into what goes wrong in a sweep while it still hangs, and names the cause."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from metta_sandbox.autopsy.case import ROLLOUT, Case, trial_under_way
from metta_sandbox.autopsy.cause import Cause
from metta_sandbox.autopsy.diagnose import diagnose
from metta_sandbox.autopsy.seen import NodeLook
from metta_sandbox.autopsy.words import Exc, last_exception, parse
from metta_sandbox.play.beside import Executed
from metta_sandbox.play.steady import Execute
from metta_sandbox.probes import source
from metta_sandbox.report.results import write_text
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.timeline.recording import Event, Timeline

#: Where a scenario's folder keeps what was seen, and what was made of it.
FILE_NAME = "autopsy.json"
#: Seconds in which nodes must show themselves: py-spy's patience and an interpreter's start.
_PATIENCE = 15.0
#: How many of the last lines of a node's command are searched for an exception.
_LINES = 2_000


@dataclass(frozen=True)
class Look:
    """What nodes showed, and what had been told until then."""

    nodes: Mapping[str, NodeLook]
    events: tuple[Event, ...]


class Examiner:
    """Keeps what nodes showed when something went wrong, by trial.

    Args:
        scenario: What is played.
        timeline: What has happened so far.
        run_folder: The folder that all nodes share, as the harness calls it.
        python: Their interpreter.
        execute: Runs a command on nodes, beside the sweep.

    """

    def __init__(
        self,
        scenario: Scenario,
        timeline: Timeline,
        *,
        run_folder: Path,
        python: str,
        execute: Execute,
    ) -> None:
        self._scenario = scenario
        self._timeline = timeline
        self._run_folder = run_folder
        self._python = python
        self._execute = execute
        self._looks: dict[int | None, Look] = {}
        self._gone: Mapping[str, str] = {}

    def look(self, gone: Mapping[str, str]) -> None:
        """See every node as it is now, and keep that for the trial that is under way.

        Args:
            gone: Nodes that can't be asked any more, and how they ended.

        """
        self._gone = gone
        # What is told later comes from our ending it all.
        events = tuple(self._timeline.events)
        ranks = {
            str(event.get("process"))
            for event in events
            if event.name == "rank.started" and isinstance(event.get("process"), int)
        }
        command = [self._python, "-c", source("look_at_processes")]
        commands = {
            host: [*command, _file(host), *sorted(ranks)]
            for host in self._scenario.hosts
            if host not in gone
        }
        ends = self._execute("autopsy", commands, _PATIENCE)
        seen = {host: _read(end, self._run_folder / _file(host)) for host, end in ends.items()}
        self._looks[trial_under_way(events)] = Look(seen, events)

    def causes(self, folder: Path, *, ended: bool) -> tuple[Cause, ...]:
        """Name what went wrong, trial by trial, and keep what that goes by.

        Args:
            folder: The scenario's artifacts, with what was collected.
            ended: Whether the sweep itself ended before its time.

        """
        events = self._timeline.events
        failed = [
            int(event.get("trial"))
            for event in events
            if event.name == "observation.recorded" and event.get("failed")
        ]
        last = trial_under_way(events)
        trials: list[int | None] = [*failed]
        if ended and last not in failed:
            trials.append(last)
        found = []
        for trial in trials:
            look = self._looks.get(trial, Look({}, tuple(events)))
            case = Case(
                hosts=self._scenario.hosts,
                ranks_per_node=self._scenario.workload.trainer.ranks_per_node,
                events=look.events,
                trial=trial,
                looks=look.nodes,
                errors=self._rank_errors(folder, trial),
                rollout_errors=self._rollout_errors(folder),
                fallen={} if trial in failed else self._gone,
            )
            if (cause := diagnose(case)) is not None:
                found.append(cause)
        if found or self._looks:
            _keep(folder, found, self._looks)
        return tuple(found)

    def _rank_errors(self, folder: Path, trial: int | None) -> dict[int, Exc]:
        runs = {
            event.get("run")
            for event in self._timeline.events
            if event.get("trial") == trial and event.get("run")
        }
        found = {}
        for run in runs:
            for log in sorted((folder / "trials" / str(run)).glob("rank-*.log")):
                rank = log.stem.removeprefix("rank-")
                if rank.isdigit() and (error := last_exception(log)) is not None:
                    found[int(rank)] = error
        return found

    def _rollout_errors(self, folder: Path) -> dict[str, Exc]:
        lines: dict[str, list[str]] = {}
        with (folder / "timeline.jsonl").open() as file:
            for text in file:
                if '"line"' not in text:
                    continue
                try:
                    entry = json.loads(text)
                except ValueError:
                    continue
                if entry.get("source") == ROLLOUT and "line" in entry:
                    lines.setdefault(entry["node"], []).append(entry["line"])
        parsed = {host: parse("\n".join(said[-_LINES:])) for host, said in lines.items()}
        return {host: error for host, error in parsed.items() if error is not None}


def _file(host: str) -> str:
    return f".autopsy-{host}.json"


def _read(end: Executed, file: Path) -> NodeLook:
    """Take what a node wrote, or else what it printed."""
    try:
        return NodeLook.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        pass
    finally:
        file.unlink(missing_ok=True)
    try:
        if end.answers:
            return NodeLook.model_validate(end.answers[-1])
    except ValidationError as error:
        return NodeLook(problem=f"what it showed can't be read: {error.errors()[0]['msg']}")
    return NodeLook(problem=end.problem or f"it ended with status {end.status}")


def _keep(folder: Path, causes: list[Cause], looks: Mapping[int | None, Look]) -> None:
    told = {
        "causes": [cause.model_dump() for cause in causes],
        "looks": [
            {
                "trial": trial,
                "after": look.events[-1].received if look.events else 0.0,
                "nodes": {host: node.model_dump() for host, node in look.nodes.items()},
            }
            for trial, look in looks.items()
        ],
    }
    write_text(folder / FILE_NAME, json.dumps(told, indent=2) + "\n")
