"""The nodes of a leased stack, as the harness sees them: ready, started, followed, stopped."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from metta_sandbox.errors import StackError
from metta_sandbox.node.agent.events import CommandExited, NodeLost, NodeRejoined, Record
from metta_sandbox.node.agent.load import slowed
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
    TurnedAway,
)
from metta_sandbox.play.claims import heard
from metta_sandbox.play.job import Job, job_command
from metta_sandbox.play.last_seen import LastSeen, is_sign_of_life
from metta_sandbox.play.node_commands import Executed, NodeCommands
from metta_sandbox.play.outcome import End, Ending, Limits
from metta_sandbox.play.rejoining import Absence, Absentees
from metta_sandbox.scenario.names import API
from metta_sandbox.scenario.notices import gave_notice, used_notice
from metta_sandbox.stack.ends import describe_end, is_worth_telling
from metta_sandbox.stack.link import SETUP, SWEEP, HubLink
from metta_sandbox.stack.node_environment import setup_command, setup_environment
from metta_sandbox.timeline.recording import Event, Timeline

#: Seconds that a node's job gets to end by itself once it is told to.
GRACE = 5.0
#: The service that the one connection goes to.
HUB = "hub"
#: Seconds between two looks at whether something has ended that is still waited for.
_LOOK = 1.0
#: The same, where all of them answer soon.
_SOON = 0.2
#: How many times longer than the slowest of the others a node that stands still takes to begin.
_SLOWER = 3.0
#: How many lies are told.
_REFUSED = 20
#: Seconds within which an engine knows that a process has ended whose connection broke.
_KNOWN = 2.0
_IN_VAIN = ", but that PyTorch tries to connect again,"

GetsOn = Callable[[int], str]
OnEvent = Callable[[Event], None]
#: Says of each host whose first process has ended how it did.
Fallen = Callable[[], Mapping[str, str]]


class Listener(Protocol):
    """Whoever hears all that nodes report while they are followed, and acts at times of its own."""

    @property
    def due(self) -> float:
        """When it wants to act, by ``time.monotonic``."""
        ...

    def take(self, message: Heard) -> None:
        """Take in what a node reports."""
        ...

    def excuses(self, node: str) -> bool:
        """Tell whether a fault may be why nothing is heard of a node."""
        ...

    def act(self) -> None:
        """Do what is due."""
        ...


class Nodes:
    """Nodes and control plane of one stack, over the one connection to their hub.

    Args:
        link: The connection.
        hosts: The nodes' host names, by rank.
        timeline: Gets everything that is reported.
        on_event: Called with each event, for whoever watches.
        fallen: Says which hosts have ended, and how.
        api: The control plane's ``api.ready``, if it was heard already.
        tell: Gets a line for whoever watches.

    """

    def __init__(
        self,
        link: HubLink,
        hosts: Sequence[str],
        timeline: Timeline,
        on_event: OnEvent,
        fallen: Fallen,
        api: Mapping[str, Any] | None = None,
        tell: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._link = link
        self._hosts = tuple(hosts)
        self._timeline = timeline
        self._on_event = on_event
        self._fallen = fallen
        self._tell = tell
        self._addresses: dict[str, str] = {}
        self._api: Mapping[str, Any] = api or {}
        self._api_end = ""
        self._noun = "the sweep's rollout"
        self._statuses: dict[str, int] = {}
        self._set_up: set[str] = set()
        self._ending: Ending | None = None
        self._absentees = Absentees(None)
        self._job: Job | None = None
        self._gone = False
        self._node_commands: NodeCommands | None = None
        self._heard = LastSeen()
        #: When there was a sign of life last, also while something ran beside the sweep.
        self._alive = 0.0
        self._refused = 0
        self._still: set[str] = set()
        self._last_words: dict[str, str] = {}
        #: How nodes that are taken away with notice were told to end, and did, in words.
        self._notices: dict[str, str] = {}
        #: Hears everything, once it is set.
        self.listener: Listener | None = None

    @property
    def api(self) -> Mapping[str, Any]:
        """The control plane's ``api.ready``, which says its ports."""
        return self._api

    def await_ready(self, patience: float) -> None:
        """Wait until every agent has registered and the control plane listens.

        Raises:
            StackError: Somebody is missing; names who.

        """
        deadline = time.monotonic() + patience
        looked = time.monotonic()
        while missing := self._awaited():
            now = time.monotonic()
            if now >= deadline:
                raise StackError(
                    f"not ready within {patience:g} s: {', '.join(missing)}",
                    "the logs in the artifacts say how far they came",
                )
            message = self._link.receive(min(deadline - now, _LOOK))
            if message is not None:
                self._take(message)
            if self._ending:
                raise StackError(self._explained(self._ending).reason)
            if time.monotonic() - looked > _LOOK:
                looked = time.monotonic()
                if fallen := self._fallen():
                    ends = "; ".join(f"{host} {end}" for host, end in fallen.items())
                    raise StackError(f"not ready: {ends}")

    def set_up(self, job: Job, script: str, patience: float) -> None:
        """Run shell commands on every node at once, and wait until they are done.

        SkyPilot gives most of its variables, and the task itself the rest, to ``run`` alone: here,
        too, they are not there.

        Raises:
            StackError: They failed on a node, or were not done within ``patience`` seconds; then
                they are ended on all.

        """
        addresses = [self._addresses[host] for host in self._hosts]
        replies = []
        for rank, host in enumerate(self._hosts):
            command = setup_command(script)
            env = {**job.index, **job.variables, **setup_environment(rank, addresses)}
            cwd = job.folders.get(host, job.cwd)
            reply = self._link.ask(host, "start", group=SETUP, command=command, env=env, cwd=cwd)
            replies.append((host, reply))
        for host, reply in replies:
            self._link.result(reply, host, "start", patience=30)
        deadline = time.monotonic() + patience
        while len(self._set_up) < len(self._hosts) and self._ending is None:
            message = self._link.receive(deadline - time.monotonic())
            if message is not None:
                self._take(message)
            if message is None or time.monotonic() > deadline + GRACE:
                # Those who print faster than anybody reads have always said something.
                self._end(End.OVERDUE, f"setup was not done within {patience:g} s")
        if self._ending:
            with suppress(StackError):
                for host in self._hosts:
                    self._link.request(host, "stop", group=SETUP, grace=1.0)
            raise StackError(self._explained(self._ending).reason)

    def start(self, job: Job, later: Collection[str] = ()) -> None:
        """Start the same command on every node at once.

        Args:
            job: What.
            later: Nodes that are left out, for ``start_on``.

        Raises:
            StackError: A node refused.

        """
        self._start([host for host in self._hosts if host not in later], job)

    def start_on(self, host: str, job: Job) -> None:
        """Start the command on one node that was left out.

        Raises:
            StackError: It refused, or is lost.

        """
        if host not in self._addresses:
            raise StackError(f"{host} is lost")
        self._start([host], job)

    def _start(self, hosts: Sequence[str], job: Job) -> None:
        self._noun, self._job = job.noun, job
        addresses = [self._addresses.get(host, host) for host in self._hosts]
        replies = []
        for host in hosts:
            rank = self._hosts.index(host)
            env = job.environment(rank, addresses)
            command = job_command(job)
            cwd = job.folders.get(host, job.cwd)
            start: Args = {
                "group": SWEEP,
                "command": command,
                "env": env,
                "cwd": cwd,
                "template": job.template,
            }
            reply = self._link.ask(host, "start", **start)
            replies.append((host, reply))
        for host, reply in replies:
            self._link.result(reply, host, "start", patience=30)

    def execute(
        self,
        job: Job,
        group: str,
        commands: Mapping[str, Sequence[str]],
        patience: float,
        *,
        soon: float = GRACE,
    ) -> Mapping[str, Executed]:
        """Run a command on some nodes, beside whatever runs there, and wait for its ends.

        Args:
            job: The sweep's, whose folder and variables it sees.
            group: Names it in logs and in the timeline.
            commands: By host.
            patience: Seconds until it is stopped where it still runs.
            soon: Seconds within which a node must have begun, once all others are done; more where
                the slowest of those took long itself, as on a machine that is busy.

        """
        commands_asked = self._node_commands = NodeCommands(group, commands)
        began = time.monotonic()
        try:
            asked = self._ask_for_commands(commands_asked, group, commands, job)
            slowest = 0.0
            while commands_asked.missing and (left := began + patience - time.monotonic()) > 0:
                message = self._link.receive(min(left, _SOON))
                if message is not None:
                    self._take(message)
                others_done = commands_asked.ends() and set(commands_asked.missing) <= set(asked)
                waited = time.monotonic() - began
                if not all(reply.empty() for reply in asked.values()):
                    slowest = waited
                limit = max(slowed(soon if others_done else GRACE), _SLOWER * slowest)
                self._note_begun(commands_asked, asked, waited, limit)
            for host in commands_asked.missing:
                with suppress(StackError):
                    self._link.request(host, "stop", group=group, grace=1.0, patience=GRACE)
                commands_asked.fail(host, f"not done within {patience:g} s")
        finally:
            self._node_commands = None
        return commands_asked.ends()

    def _ask_for_commands(
        self,
        commands_asked: NodeCommands,
        group: str,
        commands: Mapping[str, Sequence[str]],
        job: Job,
    ) -> dict[str, queue.Queue[Answer]]:
        """Ask all nodes at once; returns where their answers come in."""
        addresses = [self._addresses.get(each, each) for each in self._hosts]
        asked = {}
        for host, command in commands.items():
            if host not in self._addresses:
                commands_asked.fail(host, f"{host} is lost")
                continue
            env = job.environment(self._hosts.index(host), addresses)
            cwd = job.folders.get(host, job.cwd)
            told: Args = {"group": group, "command": list(command), "env": env, "cwd": cwd}
            try:
                asked[host] = self._link.ask(host, "start", **told)
            except StackError as error:
                commands_asked.fail(host, str(error))
        return asked

    def _note_begun(
        self,
        commands_asked: NodeCommands,
        asked: dict[str, queue.Queue[Answer]],
        waited: float,
        limit: float,
    ) -> None:
        """Take in who has begun, was refused, or has not answered for too long."""
        for host, reply in list(asked.items()):
            if reply.empty() and waited < limit:
                continue
            del asked[host]
            silent = f"{host} has not answered for {waited:.0f} s" if reply.empty() else ""
            try:
                self._link.result(reply, host, "start", patience=0)
            except StackError as error:
                commands_asked.fail(host, silent or str(error))

    def follow(self, limits: Limits, gets_on: GetsOn = lambda _times: "") -> Ending:
        """Take in what the nodes report until the sweep has ended or must be ended.

        Args:
            limits: How long it may take, and be silent.
            gets_on: Asked when it was silent for too long: says who is still at work, if anybody
                is and nobody hangs. It is told how often it has said so already.

        Raises:
            MachineError: What they report can't be kept.

        """
        began = heard = time.monotonic()
        but, patience = "", 0
        self._absentees = Absentees(limits.rejoin)
        while self._ending is None:
            if overdue := self._absentees.overdue:
                self._ending = Ending(End.NODE_LOST, overdue[1])
                break
            silent_at = heard + limits.longest_silence
            until = min(began + limits.deadline, silent_at, self._absentees.deadline)
            if self.listener and self.listener.due <= time.monotonic():
                self.listener.act()
            due = min(until, self.listener.due) if self.listener else until
            message = self._link.receive(due - time.monotonic())
            if message is not None:
                self._take(message)
                self._timeline.require_whole()
                alive = is_sign_of_life(message)
                heard = time.monotonic() if alive else heard
                but, patience = ("", 0) if alive else (_IN_VAIN, patience)
                if time.monotonic() > began + limits.deadline + GRACE:
                    self._end(End.OVERDUE, _overdue(limits))
            elif due < until or until == self._absentees.deadline:
                continue
            elif until == silent_at:
                asked = time.monotonic()
                if working := gets_on(patience):
                    self._timeline.step(f"silent for {limits.longest_silence:g} s: {working}")
                    heard, patience = time.monotonic(), patience + 1
                elif self._alive >= asked:
                    # Somebody was heard of while all were looked at, which may take long.
                    heard, but, patience = self._alive, "", 0
                else:
                    left = (host for host in self._hosts if host not in self._statuses)
                    silence = f"no event and no log line{but} for {limits.longest_silence:g} s"
                    self._ending = Ending(End.SILENT, f"{silence}{self._heard.describe(left)}")
            else:
                self._ending = Ending(End.OVERDUE, _overdue(limits))
        return self._explained(self._ending)

    def stop(self) -> None:
        """End the job on every node that still runs it, and take in its last words.

        Raises:
            StackError: Not a node alone was lost, as it first seemed, but the whole stack.

        """
        replies = []
        for host in self._hosts:
            if host not in self._statuses and host in self._addresses.keys() - self._still:
                try:
                    replies.append(self._link.ask(host, "stop", group=SWEEP, grace=GRACE))
                except StackError:
                    self._gone = True
                    break
        deadline = time.monotonic() + 3 * GRACE
        while any(reply.empty() for reply in replies) and time.monotonic() < deadline:
            message = self._link.receive(0.1)
            if message is not None:
                self._take(message)
        while (message := self._link.receive(0)) is not None:
            self._take(message)
        if self._gone and self._ending and self._ending.end is End.NODE_LOST:
            raise StackError("the connection to the stack is gone")

    def _awaited(self) -> list[str]:
        missing = [host for host in (*self._hosts, API) if host not in self._addresses]
        return missing or ([] if self._api else [f"{API}'s server"])

    def _explained(self, ending: Ending) -> Ending:
        """Add how whoever is lost has ended. An engine may know it a moment later than we do."""
        if not ending.lost:
            return ending
        deadline = time.monotonic() + _KNOWN
        while not (end := self._ends().get(ending.lost)) and time.monotonic() < deadline:
            message = self._link.receive(0.1)
            if message is not None:
                self._take(message)
        how = f"{ending.lost} {end}" if end else f"{ending.lost} still runs; its connection broke"
        return replace(ending, reason=f"{ending.reason}: {how}", how=end or "")

    def _ends(self) -> Mapping[str, str]:
        """Say of each host that has ended how it did."""
        return {**self._fallen(), **self._notices}

    def _take(self, message: Heard) -> None:
        try:
            message = heard(message, self._hosts)
        except ValueError as error:
            self._refuse(str(error))
        else:
            self._take_in(message)

    def _take_in(self, message: Heard) -> None:
        own = self._node_commands is not None and self._node_commands.is_of(message)
        if is_sign_of_life(message) and not own:
            self._alive = time.monotonic()
        if self._node_commands:
            self._node_commands.take(message)
        node = str(message.get("node", ""))
        if message["type"] == "event":
            self._note(self._timeline.event({"node": node, **message["record"]}))
        elif message["type"] == "lines":
            self._take_lines(node, message, own=own)
        elif message["type"] == "rank-started" or message["type"] == "rank-exited":
            self._note(self._timeline.event(_rank_event(message)))
        elif message["type"] == "exit":
            self._note_exit(node, message)
        else:
            self._note_change(message)
        if self.listener:
            self.listener.take(message)

    def _take_lines(self, node: str, message: Lines, *, own: bool) -> None:
        """Take in what something printed; what we run beside the sweep ourselves is no news."""
        for text in message["lines"]:
            line = self._timeline.line(node, message["source"], text)
            if not own:
                self._heard.note_line(line)
            if message["source"] in {SWEEP, SETUP} and is_worth_telling(text):
                self._last_words[node] = text.strip()

    def _note_change(self, message: Registered | Lost | Still | TurnedAway | Gone) -> None:
        """Take in that somebody came or went."""
        if message["type"] == "registered":
            node = message["node"]
            self._addresses[node] = message["address"]
            self._timeline.step(f"{node} is ready at {message['address']}")
            if absence := self._absentees.take(node):
                self._take_back(node, absence)
        elif message["type"] == "lost":
            self._note_lost(message["node"])
        elif message["type"] == "still":
            self._note_still(message)
        elif message["type"] == "turned-away":
            self._refuse(message["reason"])
        elif message["type"] == "gone":
            self._gone = True
            self._timeline.step(f"the connection to the stack is gone: {message['reason']}")
            self._end(End.STACK_LOST, _gone(message), "" if message.get("still") else HUB)

    def _note_still(self, message: Still) -> None:
        """Take in whose agents give no sign of life: that is our fault, unless a fault's."""
        still = {
            node: seconds
            for node, seconds in message["nodes"].items()
            if not (self.listener and self.listener.excuses(node))
        }
        if not still or self._ending is not None:
            return
        who = f"the agent of {' and of '.join(still)} stands still"
        if len(still) == message["of"] > 1:
            who = "the hub is cut off from all agents"
        reason = f"{who}: no sign of life for {max(still.values()):.0f} s"
        self._timeline.step(reason)
        self._still.update(still)
        self._end(End.STACK_LOST, reason)

    def _refuse(self, reason: str) -> None:
        """Note that somebody said what was not its to say, as long as anybody reads on."""
        self._refused += 1
        if self._refused <= _REFUSED:
            self._timeline.step(f"not believed: {reason}")
            self._tell(f"not believed: {reason}")

    def _note(self, event: Event) -> None:
        if event.name == "api.ready":
            self._api = event.fields
        node = str(event.get("node"))
        if event.name == "node.notice" and node not in self._statuses:
            self._notices[node] = gave_notice(event)
        elif event.name == "node.ended" and node in self._notices:
            self._notices[node] += f", {used_notice(event)}"
        self._heard.note(event)
        self._on_event(event)

    def _note_exit(self, node: str, message: Exit) -> None:
        group, status = message["group"], message["status"]
        self._timeline.step(f"{node}: {group} ended with status {status}")
        if node == API:
            self._api_end = describe_end(status)
            if not self._api:
                self._end(End.STACK_LOST, f"{API}'s server did not start", API)
        if group == SETUP:
            self._set_up.add(node)
            if status != 0:
                how = describe_end(status, self._last_words.get(node, ""))
                self._end(End.NODE_FAILED, f"setup on {node} {how}")
        if group == SWEEP:
            self._note_command_end(node, status, taken=bool(message.get("ending")))

    def _note_command_end(self, node: str, status: int, *, taken: bool) -> None:
        self._note(self._timeline.tell(CommandExited(node=node, group=SWEEP, status=status)))
        if taken and status != 0:
            self._notices.setdefault(node, "was told to end")
        if node in self._notices:
            # It counts as lost, however it has used its notice.
            return
        self._statuses[node] = status
        if self._notices:
            # What ends elsewhere meanwhile does so for it.
            return
        if status != 0:
            how = describe_end(status, self._last_words.get(node, ""))
            reason = f"{self._noun} on {node} {how}"
            if self._api_end:
                self._end(End.NODE_FAILED, f"{reason}; before that, {API}'s server {self._api_end}")
            elif API not in self._addresses:
                self._end(End.NODE_FAILED, f"{reason}; before that, {API} was lost", API)
            else:
                self._end(End.NODE_FAILED, reason)
        elif len(self._statuses) == len(self._hosts):
            self._end(End.FINISHED, "")

    def _note_lost(self, node: str) -> None:
        self._timeline.step(f"{node} is lost: its agent has gone")
        self._addresses.pop(node, None)
        if node not in self._hosts or node in self._statuses or self._ending:
            return
        # Rank 0's rollout leads the sweep, and nobody else can go on with it.
        led = self._hosts[0] in self._addresses and self._hosts[0] not in self._statuses
        if led and (absence := self._absentees.wait_for(node, self._ends)):
            self._notices.pop(node, None)
            self._note(self._timeline.tell(NodeLost(node=node, how=absence.how)))
        else:
            self._end(End.NODE_LOST, f"{node} is lost", node)

    def _take_back(self, node: str, absence: Absence) -> None:
        """Start the command again on a node that has come back."""
        assert self._job is not None
        seconds = round(time.monotonic() - absence.since, 3)
        self._note(self._timeline.tell(NodeRejoined(node=node, seconds=seconds)))
        if self._ending is None:
            try:
                self._start([node], self._job)
            except StackError as error:
                self._end(End.NODE_LOST, f"{node} has come back, and is lost again: {error}", node)

    def _end(self, end: End, reason: str, lost: str = "") -> None:
        # What came first is the cause.
        if self._ending is None:
            self._ending = Ending(end, reason, lost)


def _gone(message: Gone) -> str:
    """Say how the connection was lost, as far as that is not seen elsewhere."""
    return message["reason"] if message.get("still") else "the connection to the stack is gone"


def _overdue(limits: Limits) -> str:
    return f"the sweep was not over after its deadline of {limits.deadline:g} s"


def _rank_event(message: RankTold) -> Record:
    """Turn an agent's report on a rank's process into an event."""
    fields = {key: value for key, value in message.items() if key not in {"type", "pid"}}
    name = message["type"].replace("-", ".")
    return {"event": name, **fields, "process": message["pid"]}
