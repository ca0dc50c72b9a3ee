"""Looking into a standing stack: its logs, and a shell on one of its nodes."""

from __future__ import annotations

import heapq
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Thread

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.names import API
from metta_sandbox.scenario.overrides import nearest
from metta_sandbox.stack.engines.compose.request import HOME, RUN_FOLDER, WORKSPACE
from metta_sandbox.stack.engines.process.stack import ProcessStack
from metta_sandbox.stack.node_environment import job_environment
from metta_sandbox.stack.standing import PROJECT, Record, Use, last_use, standing_folder
from metta_sandbox.stack.status import stack_status

_POLL = 0.2
#: The time of an event among what a process prints, in seconds since the epoch.
_WALL = re.compile(r'^\{"event":.*"wall": ?(\d+\.\d+)')


@dataclass(frozen=True)
class LogLine:
    """A line of a container's log."""

    host: str
    text: str


def all_hosts(record: Record) -> tuple[str, ...]:
    """Return every host that has a log."""
    return (*record.hosts, API)


def host_named(record: Record, word: str, *, nodes_only: bool = False) -> str:
    """Find the host that a word means: its host name, its container's name, or a rank.

    Raises:
        InputError: There is none; names the nearest.

    """
    hosts = record.hosts if nodes_only else all_hosts(record)
    bare = word.removeprefix(f"{PROJECT}-")
    if bare.isdigit() and int(bare) < len(record.hosts):
        return record.hosts[int(bare)]
    if bare in hosts:
        return bare
    # People leave the first half of a name out, also when they mistype the second.
    names = {name: host for host in hosts for name in (host, host.split("-", 1)[1])}
    near = names.get(nearest(bare, names) or "")
    did_you_mean = f"did you mean {near}?" if near else f"there are {', '.join(hosts)}"
    raise InputError(f"the standing stack has no {word}", did_you_mean)


def read_logs(record: Record, hosts: tuple[str, ...], *, follow: bool) -> Iterator[LogLine]:
    """Give the lines of logs: what is there in one order, by time, and then what comes."""
    if record.engine == "process":
        return _files(hosts, follow=follow)
    return _containers(hosts, follow=follow)


def shell_command(record: Record, host: str) -> tuple[list[str], dict[str, str] | None, str | None]:
    """Build the command that opens a shell on a node, as the sweep's own processes see it.

    ``METTA_RUN_ID``, ``METTA_CMD`` and ``METTA_CMD_ARGS`` are those of the sweep that is on the
    stack, or else of the last one that was.

    Returns:
        The command, its environment and its folder; None where they are this process's.

    """
    rank = record.hosts.index(host)
    addresses = [part.address for part in stack_status(record).parts if part.rank is not None]
    use = last_use() or Use("", "", ("shell",))
    job = job_environment(rank, addresses, use.sweep, use.words, record.plan().num_gpus)
    if record.engine == "process":
        return _process_shell(record, host, job)
    words = [word for name, value in job.items() for word in ("--env", f"{name}={value}")]
    cwd = WORKSPACE if record.source else RUN_FOLDER
    terminal = ["--tty"] if sys.stdin.isatty() else []
    return (
        ["docker", "exec", "--interactive", *terminal, "--workdir", cwd, "--env", f"HOME={HOME}",
         *words, f"{PROJECT}-{host}", "bash"],
        None,
        None,
    )  # fmt: skip


def _process_shell(
    record: Record, host: str, job: dict[str, str]
) -> tuple[list[str], dict[str, str], str]:
    stack = ProcessStack(record.plan(), record.python)
    env = {
        **stack.environment(host),
        **stack.service_environment(record.ready),
        **job,
        "PS1": f"{host}:\\w\\$ ",
        "TERM": os.environ.get("TERM", "dumb"),
    }
    interactive = ["-i"] if sys.stdin.isatty() else []
    return ["bash", "--noprofile", "--norc", *interactive], env, stack.working_folder()


def open_shell(record: Record, host: str) -> int:
    """Open a shell on a node, on this terminal; returns its exit status."""
    command, env, cwd = shell_command(record, host)
    # Ctrl-C at the terminal is the shell's to hear (which does not inherit a handler).
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        status = subprocess.run(command, env=env, cwd=cwd, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)
    return status if status >= 0 else 128 - status


@dataclass(frozen=True)
class _Stamped:
    """A line and when it was logged, as text that sorts by time."""

    stamp: str
    line: LogLine


class _DockerLogs:
    """What ``docker logs`` prints, of several containers."""

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self._hosts = hosts
        self._clients: list[subprocess.Popen[bytes]] = []
        #: By host, the stamp of the last line given, and how many lines bear it.
        self._last: dict[str, tuple[str, int]] = {}

    def close(self) -> None:
        """End all clients."""
        for client in self._clients:
            client.kill()

    def merged(self) -> Iterator[LogLine]:
        """Give what is there, in one order."""
        streams = [self._lines(host) for host in self._hosts]
        for stamped in heapq.merge(*streams, key=lambda one: one.stamp):
            host, stamp = stamped.line.host, stamped.stamp
            last, many = self._last.get(host, ("", 0))
            self._last[host] = (stamp, many + 1 if stamp == last else 1)
            yield stamped.line

    def coming(self) -> Iterator[LogLine]:
        """Give each line as it comes, until all containers have ended."""
        came: Queue[LogLine | None] = Queue(maxsize=10_000)

        def follow(host: str) -> None:
            last, many = self._last.get(host, ("", 0))
            # The engine repeats what was logged at that very moment.
            since = [f"--since={last}"] if last else []
            for stamped in self._lines(host, "--follow", *since):
                if stamped.stamp == last and many:
                    many -= 1
                else:
                    came.put(stamped.line)
            came.put(None)

        for host in self._hosts:
            Thread(target=follow, args=(host,), daemon=True).start()
        following = len(self._hosts)
        while following:
            line = came.get()
            if line is None:
                following -= 1
            else:
                yield line

    def _lines(self, host: str, *options: str) -> Iterator[_Stamped]:
        command = ["docker", "logs", "--timestamps", *options, f"{PROJECT}-{host}"]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._clients.append(client)
        with client:
            assert client.stdout is not None
            try:
                for line in client.stdout:
                    words = line.decode(errors="replace").rstrip("\n")
                    stamp, _, text = words.partition(" ")
                    yield _Stamped(stamp, LogLine(host, text))
            finally:
                client.kill()


def _containers(hosts: tuple[str, ...], *, follow: bool) -> Iterator[LogLine]:
    logs = _DockerLogs(hosts)
    try:
        yield from logs.merged()
        if follow:
            yield from logs.coming()
    finally:
        logs.close()


def _files(hosts: tuple[str, ...], *, follow: bool) -> Iterator[LogLine]:
    """Give the lines of local processes' logs: what is there in one order, then what comes."""
    paths = {host: standing_folder() / "logs" / f"{host}.log" for host in hosts}
    positions: dict[str, int] = dict.fromkeys(hosts, 0)
    while True:
        read = []
        for host, path in paths.items():
            text, positions[host] = _from(path, positions[host])
            read.append(list(_stamped(host, text.split("\n")[:-1])))
        for stamped in heapq.merge(*read, key=lambda one: one.stamp):
            yield stamped.line
        if not follow or not standing_folder().exists():
            return
        time.sleep(_POLL)


def _stamped(host: str, lines: Iterable[str]) -> Iterator[_Stamped]:
    """Stamp lines with the time of the event before them: plain text bears none."""
    stamp = ""
    for line in lines:
        if match := _WALL.search(line):
            stamp = max(stamp, f"{float(match[1]):020.6f}")
        yield _Stamped(stamp, LogLine(host, line))


def _from(path: Path, position: int) -> tuple[str, int]:
    """Read whole lines from a place in a file on, and return where they end."""
    if not path.exists():
        return "", position
    with path.open("rb") as file:
        file.seek(position)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    return whole.decode(errors="replace"), position + len(whole)
