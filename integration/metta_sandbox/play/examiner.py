"""Looks into what goes wrong in a sweep while it still hangs, and names the cause."""

from __future__ import annotations

import base64
import json
import os
import time
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, TypeVar

from pydantic import ValidationError

from metta_sandbox import beneath
from metta_sandbox.autopsy.case import Case, trial_under_way
from metta_sandbox.autopsy.cause import Cause
from metta_sandbox.autopsy.diagnose import diagnose
from metta_sandbox.autopsy.lives import read_lives
from metta_sandbox.autopsy.losses import LostMetric, first_lost, lost_in
from metta_sandbox.autopsy.printed import READ, printed_last
from metta_sandbox.autopsy.progress import gets_on
from metta_sandbox.autopsy.seen import NodeLook, Recorded
from metta_sandbox.autopsy.words import Exc, last_error, last_said
from metta_sandbox.checks import world_size
from metta_sandbox.node.agent.load import slowed
from metta_sandbox.play.node_commands import Executed
from metta_sandbox.play.steady import Execute
from metta_sandbox.probes import source
from metta_sandbox.report.results import write_text
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.notices import gave_notice
from metta_sandbox.timeline.recording import Event, Timeline

#: Where a scenario's folder keeps what was seen, and what was made of it.
FILE_NAME = "autopsy.json"
#: Seconds in which nodes must show themselves: py-spy's patience and an interpreter's start.
_PATIENCE = 15.0
#: Seconds for which what was seen is not looked at again.
_FRESH = 2.0

_T = TypeVar("_T")


@dataclass(frozen=True)
class Look:
    """What nodes showed while a trial was under way."""

    trial: int | None
    nodes: Mapping[str, NodeLook]


class Examiner:
    """Keeps what nodes showed when something went wrong, and the causes that were found.

    Args:
        scenario: What is played.
        timeline: What has happened so far.
        run_folder: The folder that all nodes share, as the harness calls it.
        python: Their interpreter.
        execute: Runs a command on nodes, beside the sweep.
        tell: Called with each cause's sentence as soon as it is known.

    """

    def __init__(
        self,
        scenario: Scenario,
        timeline: Timeline,
        *,
        run_folder: Path,
        python: str,
        execute: Execute,
        tell: Callable[[str], None],
    ) -> None:
        self._scenario = scenario
        self._timeline = timeline
        self._run_folder = run_folder
        self._python = python
        self._execute = execute
        self._tell = tell
        self._looks: list[Look] = []
        self._causes: list[Cause] = []
        self._cases: list[dict[str, Any]] = []
        self._fresh: tuple[float, dict[str, NodeLook]] | None = None

    @property
    def causes(self) -> tuple[Cause, ...]:
        """What was found so far, in the order in which it went wrong."""
        return tuple(self._causes)

    def take(self, event: Event) -> None:
        """Take in an event: a trial that fails is looked into at once."""
        if event.name == "observation.recorded" and event.get("failed"):
            self._trial_failed(int(event.get("trial")))

    def _trial_failed(self, trial: int) -> None:
        """Name what a trial failed of, once its ranks have ended."""
        with self._aside():
            events = tuple(self._timeline.events)
            self._note(self._case(trial, events, self._looked_at(trial), _lost_in(trial, events)))

    def gets_on(self, times: int) -> str:
        """Say who is still at work where a sweep is silent; empty if somebody hangs.

        Args:
            times: How often that was said since the last sign of life.

        """
        with self._aside():
            events = tuple(self._timeline.events)
            nodes = self._look(events, {})
            case = self._case(trial_under_way(events), events, nodes, {})
            said = gets_on(case, os.cpu_count() or 1, times)
            self._fresh = None if said else (time.monotonic(), nodes)
            return said
        return ""

    def _seen_just_now(self) -> dict[str, NodeLook] | None:
        """Give what was seen when it was asked whether anybody gets on, if that was just now."""
        if self._fresh is None or time.monotonic() - self._fresh[0] > _FRESH:
            return None
        return self._fresh[1]

    def sweep_broke(self, gone: Mapping[str, str], *, cut_short: bool = False) -> None:
        """See every node as it is now, and name what the sweep ended of, or hangs on.

        Args:
            gone: Nodes that can't be asked any more, and how they ended.
            cut_short: Whether the deadline has ended it, while it was not silent.

        """
        with self._aside():
            # What is told once this returns comes from our ending it all.
            events = tuple(self._timeline.events)
            trial = trial_under_way(events)
            nodes = self._seen_just_now() or self._look(events, gone)
            known = trial in _failed(events)
            case = None if known else self._case(trial, events, nodes, gone)
            if case is not None and _still_ends(case):
                # Who brought the others down may say why, and end, some moments after they have.
                nodes = self._look(events, gone)
                events = tuple(self._timeline.events)
                case = self._case(trial, events, nodes, gone)
            self._tell_of_native(nodes)
            self._looks.append(Look(trial, nodes))
            if case is not None:
                self._note(replace(case, cut_short=cut_short))

    def keep(self, folder: Path) -> None:
        """Write what was seen, and what was made of it, into the scenario's artifacts."""
        lives = {host: read_lives(self._run_folder, host) for host in self._scenario.hosts}
        if told_of := world_size.to_json(lives):
            write_text(folder / world_size.FILE_NAME, told_of)
        if not self._looks and not self._causes:
            return
        told = {
            "causes": [cause.model_dump() for cause in self._causes],
            "cases": self._cases,
            "looks": [
                {
                    "trial": one.trial,
                    "nodes": {host: n.model_dump() for host, n in one.nodes.items()},
                }
                for one in self._looks
            ],
        }
        write_text(folder / FILE_NAME, json.dumps(told, indent=2) + "\n")

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Let nothing that goes wrong in an autopsy change how the scenario comes out."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - see above
            self._timeline.step(f"no autopsy:\n{''.join(traceback.format_exception(error))}")

    def _note(self, case: Case) -> None:
        cause = diagnose(case)
        self._cases.append(case.to_json())
        if cause is not None:
            self._causes.append(cause)
            self._tell(cause.told)

    def _look(self, events: Sequence[Event], gone: Mapping[str, str]) -> dict[str, NodeLook]:
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
        ends = self._execute("autopsy", commands, slowed(_PATIENCE))
        return {host: _read(end, self._run_folder, _file(host)) for host, end in ends.items()}

    def _case(
        self,
        trial: int | None,
        events: Sequence[Event],
        nodes: Mapping[str, NodeLook],
        gone: Mapping[str, str],
    ) -> Case:
        # Asked for only of commands that have ended, or whose ranks nobody else hears of.
        printed = printed_last(self._timeline.path) if self._speaks(events) else {}
        script = self._scenario.workload.run is not None
        # Where the beginning is left out, the first one there is not the first.
        whole = self._timeline.path.stat().st_size <= READ
        return Case(
            hosts=self._scenario.hosts,
            ranks_per_node=self._scenario.workload.trainer.ranks_per_node,
            events=events,
            trial=trial,
            looks=nodes,
            errors=self._rank_errors(trial),
            launcher_errors=self._launcher_errors(trial),
            recorded=self._recorded(trial),
            rollout_errors=_found(last_said, printed),
            fallen=gone,
            lost=self._lost(trial),
            command_lost=_found(lost_in, printed) if script and whole else {},
            lives={host: read_lives(self._run_folder, host) for host in self._scenario.hosts},
            script=script,
        )

    def _of_ranks(self, trial: int | None, what: str, suffix: str) -> Iterator[tuple[int, Path]]:
        """Find the files of a trial of which each rank has its own, such as ``rank-0.log``."""
        for folder in self._trial_folders(trial):
            for file in beneath.find(self._run_folder, f"{what}-*.{suffix}", folder):
                rank = file.stem.removeprefix(f"{what}-")
                if rank.isdigit():
                    yield int(rank), file

    def _trial_folders(self, trial: int | None) -> list[Path]:
        runs = {
            str(event.get("run"))
            for event in self._timeline.events
            if event.get("trial") == trial and event.get("run")
        }
        return [self._run_folder / "trials" / run for run in sorted(runs)]

    def _looked_at(self, trial: int) -> dict[str, NodeLook]:
        """Read what nodes saw of ranks that they had to stop, as another one had failed."""
        found = {}
        for folder in self._trial_folders(trial):
            for node_rank, host in enumerate(self._scenario.hosts):
                with suppress(OSError, ValidationError):
                    file = folder / f"autopsy-{node_rank}.json"
                    found[host] = NodeLook.model_validate_json(self._read(file))
        if found:
            self._looks.append(Look(trial, found))
            self._tell_of_native(found)
        return found

    def _tell_of_native(self, nodes: Mapping[str, NodeLook]) -> None:
        """Say why there is no native stack of a process, where they were wanted."""
        for host, look in nodes.items():
            for one in look.processes:
                if one.native_problem:
                    who = f"{host}: no native stack of process {one.pid}"
                    self._timeline.step(f"{who}: {one.native_problem}")

    def _rank_errors(self, trial: int | None) -> dict[int, Exc]:
        return {
            rank: error
            for rank, log in self._of_ranks(trial, "rank", "log")
            if (error := last_error(self._run_folder, log)) is not None
        }

    def _lost(self, trial: int | None) -> dict[int, LostMetric]:
        """Read where each rank's log first has a loss that is no number."""
        return {
            rank: lost
            for rank, log in self._of_ranks(trial, "rank", "log")
            if (lost := first_lost(self._run_folder, log))
        }

    def _launcher_errors(self, trial: int | None) -> dict[str, Exc]:
        found = {}
        for folder in self._trial_folders(trial):
            for node_rank, host in enumerate(self._scenario.hosts):
                error = last_error(self._run_folder, folder / f"launcher-{node_rank}.log")
                if error is not None:
                    found[host] = error
        return found

    def _recorded(self, trial: int | None) -> dict[int, Recorded]:
        """Read what ranks that an exception has ended wrote of their collectives."""
        found = {}
        for rank, file in self._of_ranks(trial, "flight", "json"):
            with suppress(OSError, ValidationError):
                found[rank] = Recorded.model_validate_json(self._read(file))
        return found

    def _read(self, file: Path) -> bytes:
        return beneath.read_bytes(self._run_folder, file)

    def _speaks(self, events: Sequence[Event]) -> bool:
        return self._scenario.workload.run is not None or any(
            event.name == "command.exited" for event in events
        )


def _found(look: Callable[[list[str]], _T | None], printed: dict[str, list[str]]) -> dict[str, _T]:
    """Look for something in what each node's command printed."""
    return {host: one for host, lines in printed.items() if (one := look(lines)) is not None}


def _still_ends(case: Case) -> bool:
    """Tell whether a command has failed, others have not ended, and nothing tells of which."""
    failed = any(status for status, _ in case.commands.values())
    if not failed or len(case.commands) == len(case.hosts):
        return False
    cause = diagnose(case)
    return cause is None or cause.certainty == "unknown"


def _file(host: str) -> str:
    return f".autopsy-{host}.json"


def _read(end: Executed, folder: Path, file: str) -> NodeLook:
    """Take what a node wrote, or else what it printed."""
    try:
        return NodeLook.model_validate_json(beneath.read_bytes(folder, PurePath(file)))
    except (OSError, ValidationError):
        pass
    finally:
        with suppress(OSError):  # a folder in its place is none of ours
            beneath.unlink(folder, PurePath(file))
    try:
        if end.answers:
            return NodeLook.model_validate(_unpacked(end.answers[-1]))
    except ValidationError as error:
        return NodeLook(problem=f"what it showed can't be read: {error.errors()[0]['msg']}")
    return NodeLook(problem=end.problem or f"it ended with status {end.status}")


def _unpacked(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read what a node printed as it had no room to write."""
    if "packed" not in answer:
        return answer
    seen: Mapping[str, Any] = json.loads(zlib.decompress(base64.b64decode(answer["packed"])))
    return seen


def _lost_in(trial: int, events: Sequence[Event]) -> dict[str, str]:
    """Find the nodes that were lost since a trial was handed off, and how they ended."""
    numbers = [number for number, event in enumerate(events) if _begins(trial, event)]
    since = events[numbers[-1] :] if numbers else ()
    told = {
        str(event.get("node")): gave_notice(event) for event in since if event.name == "node.notice"
    }
    lost = {
        str(event.get("node")): str(event.get("how"))
        for event in since
        if event.name == "node.lost"
    }
    return {**told, **lost}


def _begins(trial: int, event: Event) -> bool:
    return event.name == "handoff.sent" and event.get("trial") == trial


def _failed(events: Sequence[Event]) -> set[int]:
    """Find the trials whose failure was recorded."""
    return {
        int(event.get("trial"))
        for event in events
        if event.name == "observation.recorded" and event.get("failed")
    }
