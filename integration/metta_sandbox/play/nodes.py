"""The nodes of a leased stack: what they are told, and what is known of them from what they say."""

from __future__ import annotations

import queue
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from metta_sandbox.errors import StackError
from metta_sandbox.faults.scheduler import FaultScheduler
from metta_sandbox.last_words import LastWords
from metta_sandbox.node.agent.events import CommandExited, NodeLost, NodeRejoined, Record
from metta_sandbox.node.agent.messages import (
    Answer,
    Args,
    Exit,
    Gone,
    Heard,
    Lines,
    Lost,
    RankTold,
    Registered,
    Still,
    Template,
    TurnedAway,
)
from metta_sandbox.play.claims import heard
from metta_sandbox.play.job import Job, job_command
from metta_sandbox.play.last_seen import LastSeen, is_sign_of_life
from metta_sandbox.play.node_commands import NodeCommands
from metta_sandbox.play.outcome import End, Ending
from metta_sandbox.play.rejoining import Absence, Absentees
from metta_sandbox.play.task_log import TaskLog
from metta_sandbox.scenario.names import API
from metta_sandbox.scenario.notices import gave_notice, used_notice
from metta_sandbox.stack.ends import describe_end
from metta_sandbox.stack.link import SETUP, SWEEP, HubLink
from metta_sandbox.timeline.recording import Event, Timeline

#: Seconds that a node's job gets to end by itself once it is told to.
GRACE = 5.0
#: The service that the one connection goes to.
HUB = "hub"
#: How many lies are told.
_REFUSED = 20
#: Seconds within which an engine knows that a process has ended whose connection broke.
_KNOWN = 2.0

#: Says of each host whose first process has ended how it did.
Fallen = Callable[[], Mapping[str, str]]


class Nodes:
    """Nodes and control plane of one stack, over the one connection to their hub.

    Args:
        link: The connection.
        hosts: The nodes' host names, by rank.
        timeline: Gets everything that is reported.
        fallen: Says which hosts have ended, and how.
        api: The control plane's ``api.ready``, if it was heard already.
        tell: Gets a line for whoever watches.

    """

    def __init__(
        self,
        link: HubLink,
        hosts: Sequence[str],
        timeline: Timeline,
        fallen: Fallen,
        api: Mapping[str, Any] | None = None,
        tell: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.link = link
        self.hosts = tuple(hosts)
        self.timeline = timeline
        self._subscribers: list[Callable[[Event], None]] = []
        self.fallen = fallen
        self._tell = tell
        self.addresses: dict[str, str] = {}
        self.api: Mapping[str, Any] = api or {}
        self._api_end = ""
        self._noun = "the sweep's rollout"
        self.statuses: dict[str, int] = {}
        self.set_up: set[str] = set()
        self.ending: Ending | None = None
        self.absentees = Absentees(None)
        self._job: Job | None = None
        self._gone = False
        self.beside: NodeCommands | None = None
        self.last_seen = LastSeen()
        #: When there was a sign of life last, also while something ran beside the sweep.
        self.alive = 0.0
        self._refused = 0
        self._still: set[str] = set()
        self._last_words: defaultdict[str, LastWords] = defaultdict(LastWords)
        #: How nodes that are taken away with notice were told to end, and did, in words.
        self._notices: dict[str, str] = {}
        #: Hears everything, once it is set.
        self.listener: FaultScheduler | None = None
        #: Gets what a SkyPilot task's commands print, once it is set.
        self.task_log: TaskLog | None = None

    def subscribe(self, on_event: Callable[[Event], None]) -> None:
        """Have something called with each event from now on."""
        self._subscribers.append(on_event)

    def receive(self, patience: float) -> Heard | None:
        """Take in what comes within so many seconds; returns it, if something comes."""
        message = self.link.receive(patience)
        if message is not None:
            self._take(message)
        return message

    @property
    def all_addresses(self) -> list[str]:
        """The nodes' addresses, by rank; the host name of one that is lost."""
        return [self.addresses.get(host, host) for host in self.hosts]

    def start(self, job: Job, later: Collection[str] = ()) -> None:
        """Start the same command on every node at once.

        Args:
            job: What.
            later: Nodes that are left out, for ``start_on``.

        Raises:
            StackError: A node refused.

        """
        self._start([host for host in self.hosts if host not in later], job)

    def start_on(self, host: str, job: Job) -> None:
        """Start the command on one node that was left out.

        Raises:
            StackError: It refused, or is lost.

        """
        if host not in self.addresses:
            raise StackError(f"{host} is lost")
        self._start([host], job)

    def _start(self, hosts: Sequence[str], job: Job) -> None:
        self._noun, self._job = job.noun, job
        addresses = self.all_addresses
        asked = {
            host: self.ask(
                host,
                SWEEP,
                job_command(job, self.hosts.index(host), addresses),
                job,
                template=job.template,
            )
            for host in hosts
        }
        self.require_started(asked, SWEEP)

    def ask(
        self,
        host: str,
        group: str,
        command: Sequence[str],
        job: Job,
        env: dict[str, str] | None = None,
        template: Template | None = None,
    ) -> queue.Queue[Answer]:
        """Ask a node to start a process group; returns where its answer comes in.

        Args:
            host: The node.
            group: The group's name.
            command: What it runs.
            job: Whose folder and variables it sees.
            env: Variables that it sees in place of the job's.
            template: From which template it may be forked, if from one.

        Raises:
            StackError: It can't be asked.

        """
        if env is None:
            env = job.environment(self.hosts.index(host), self.all_addresses)
        cwd = job.folders.get(host, job.cwd)
        told: Args = {
            "group": group,
            "command": list(command),
            "env": env,
            "cwd": cwd,
            "template": template,
        }
        return self.link.ask(host, "start", **told)

    def require_started(self, asked: Mapping[str, queue.Queue[Answer]], group: str) -> None:
        """Wait until all that were asked have started a process group.

        Raises:
            StackError: One refused, or does not answer.

        """
        for host, reply in asked.items():
            started = self.link.result(reply, host, "start", patience=30)
            if self.task_log:
                pid = int(started["pid"])
                self.task_log.started(host, pid, self.all_addresses, setup=group == SETUP)

    def stop(self) -> None:
        """End the job on every node that still runs it, and take in its last words.

        Raises:
            StackError: Not a node alone was lost, as it first seemed, but the whole stack.

        """
        replies = []
        for host in self.hosts:
            if host not in self.statuses and host in self.addresses.keys() - self._still:
                try:
                    replies.append(self.link.ask(host, "stop", group=SWEEP, grace=GRACE))
                except StackError:
                    self._gone = True
                    break
        deadline = time.monotonic() + 3 * GRACE
        while any(reply.empty() for reply in replies) and time.monotonic() < deadline:
            self.receive(0.1)
        while self.receive(0) is not None:
            pass  # what was said before that is taken in, too
        if self._gone and self.ending and self.ending.end is End.NODE_LOST:
            raise StackError("the connection to the stack is gone")

    def explained(self, ending: Ending) -> Ending:
        """Add how whoever is lost has ended. An engine may know it a moment later than we do."""
        if not ending.lost:
            return ending
        deadline = time.monotonic() + _KNOWN
        while not (end := self._ends().get(ending.lost)) and time.monotonic() < deadline:
            self.receive(0.1)
        how = f"{ending.lost} {end}" if end else f"{ending.lost} still runs; its connection broke"
        return replace(ending, reason=f"{ending.reason}: {how}", how=end or "")

    def _ends(self) -> Mapping[str, str]:
        """Say of each host that has ended how it did."""
        return {**self.fallen(), **self._notices}

    def _take(self, message: Heard) -> None:
        try:
            message = heard(message, self.hosts)
        except ValueError as error:
            self._refuse(str(error))
        else:
            self._take_in(message)

    def _take_in(self, message: Heard) -> None:
        own = self.beside is not None and self.beside.is_of(message)
        if is_sign_of_life(message) and not own:
            self.alive = time.monotonic()
        if self.beside:
            self.beside.take(message)
        node = str(message.get("node", ""))
        if message["type"] == "event":
            self._note(self.timeline.event({"node": node, **message["record"]}))
        elif message["type"] == "lines":
            self._take_lines(node, message, own=own)
        elif message["type"] == "rank-started" or message["type"] == "rank-exited":
            self._note(self.timeline.event(_rank_event(message)))
        elif message["type"] == "exit":
            self._note_exit(node, message)
        else:
            self._note_change(message)
        if self.listener:
            self.listener.take(message)

    def _take_lines(self, node: str, message: Lines, *, own: bool) -> None:
        """Take in what something printed; what we run beside the sweep ourselves is no news."""
        for text in message["lines"]:
            line = self.timeline.line(node, message["source"], text)
            if not own:
                self.last_seen.note_line(line)
            if self.task_log and message["source"] in {SWEEP, SETUP}:
                self.task_log.line(node, line.text, setup=message["source"] == SETUP)
            if message["source"] in {SWEEP, SETUP}:
                self._last_words[node].take(text)

    def _note_change(self, message: Registered | Lost | Still | TurnedAway | Gone) -> None:
        """Take in that somebody came or went."""
        if message["type"] == "registered":
            node = message["node"]
            self.addresses[node] = message["address"]
            self.timeline.step(f"{node} is ready at {message['address']}")
            if self._job and (absence := self.absentees.take(node)):
                self._take_back(node, absence, self._job)
        elif message["type"] == "lost":
            self._note_lost(message["node"])
        elif message["type"] == "still":
            self._note_still(message)
        elif message["type"] == "turned-away":
            self._refuse(message["reason"])
        elif message["type"] == "gone":
            self._gone = True
            self.timeline.step(f"the connection to the stack is gone: {message['reason']}")
            self.end(End.STACK_LOST, _gone(message), "" if message.get("still") else HUB)

    def _note_still(self, message: Still) -> None:
        """Take in whose agents give no sign of life: that is our fault, unless a fault's."""
        still = {
            node: seconds
            for node, seconds in message["nodes"].items()
            if not (self.listener and self.listener.excuses(node))
        }
        if not still or self.ending is not None:
            return
        who = f"the agent of {' and of '.join(still)} stands still"
        if len(still) == message["of"] > 1:
            who = "the hub is cut off from all agents"
        reason = f"{who}: no sign of life for {max(still.values()):.0f} s"
        self.timeline.step(reason)
        self._still.update(still)
        self.end(End.STACK_LOST, reason)

    def _refuse(self, reason: str) -> None:
        """Note that somebody said what was not its to say, as long as anybody reads on."""
        self._refused += 1
        if self._refused <= _REFUSED:
            self.timeline.step(f"not believed: {reason}")
            self._tell(f"not believed: {reason}")

    def _note(self, event: Event) -> None:
        if event.name == "api.ready":
            self.api = event.fields
        node = str(event.get("node"))
        if event.name == "node.notice" and node not in self.statuses:
            self._notices[node] = gave_notice(event)
        elif event.name == "node.ended" and node in self._notices:
            self._notices[node] += f", {used_notice(event)}"
        self.last_seen.note(event)
        for take in self._subscribers:
            take(event)

    def _note_exit(self, node: str, message: Exit) -> None:
        group, status = message["group"], message["status"]
        self.timeline.step(f"{node}: {group} ended with status {status}")
        if self.task_log and group in {SETUP, SWEEP}:
            self.task_log.ended(node, status, setup=group == SETUP)
        if node == API:
            self._api_end = describe_end(status)
            if not self.api:
                self.end(End.STACK_LOST, f"{API}'s server did not start", API)
        if group == SETUP:
            self.set_up.add(node)
            if status != 0:
                how = describe_end(status, self._last_words[node].text)
                self.end(End.NODE_FAILED, f"setup on {node} {how}")
        if group == SWEEP:
            self._note_command_end(node, status, taken=bool(message.get("ending")))

    def _note_command_end(self, node: str, status: int, *, taken: bool) -> None:
        self._note(self.timeline.tell(CommandExited(node=node, group=SWEEP, status=status)))
        if taken and status != 0:
            self._notices.setdefault(node, "was told to end")
        if node in self._notices:
            # It counts as lost, however it has used its notice.
            return
        self.statuses[node] = status
        if self._notices:
            # What ends elsewhere meanwhile does so for it.
            return
        if status != 0:
            how = describe_end(status, self._last_words[node].text)
            reason = f"{self._noun} on {node} {how}"
            if self._api_end:
                self.end(End.NODE_FAILED, f"{reason}; before that, {API}'s server {self._api_end}")
            elif API not in self.addresses:
                self.end(End.NODE_FAILED, f"{reason}; before that, {API} was lost", API)
            else:
                self.end(End.NODE_FAILED, reason)
        elif len(self.statuses) == len(self.hosts):
            self.end(End.FINISHED, "")

    def _note_lost(self, node: str) -> None:
        self.timeline.step(f"{node} is lost: its agent has gone")
        self.addresses.pop(node, None)
        if node not in self.hosts or node in self.statuses or self.ending:
            return
        # Rank 0's rollout leads the sweep, and nobody else can go on with it.
        led = self.hosts[0] in self.addresses and self.hosts[0] not in self.statuses
        if led and (absence := self.absentees.wait_for(node, self._ends)):
            self._notices.pop(node, None)
            self._note(self.timeline.tell(NodeLost(node=node, how=absence.how)))
        else:
            self.end(End.NODE_LOST, f"{node} is lost", node)

    def _take_back(self, node: str, absence: Absence, job: Job) -> None:
        """Start the command again on a node that has come back."""
        seconds = round(time.monotonic() - absence.since, 3)
        self._note(self.timeline.tell(NodeRejoined(node=node, seconds=seconds)))
        if self.ending is None:
            try:
                self._start([node], job)
            except StackError as error:
                self.end(End.NODE_LOST, f"{node} has come back, and is lost again: {error}", node)

    def end(self, end: End, reason: str, lost: str = "") -> None:
        """Note how it all ends; what came first is the cause."""
        if self.ending is None:
            self.ending = Ending(end, reason, lost)


def _gone(message: Gone) -> str:
    """Say how the connection was lost, as far as that is not seen elsewhere."""
    return message["reason"] if message.get("still") else "the connection to the stack is gone"


def _rank_event(message: RankTold) -> Record:
    """Turn an agent's report on a rank's process into an event."""
    fields = {key: value for key, value in message.items() if key not in {"type", "pid"}}
    name = message["type"].replace("-", ".")
    return {"event": name, **fields, "process": message["pid"]}
