"""Looking into a standing stack: its logs, and a shell on one of its nodes."""

from __future__ import annotations

import heapq
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.names import API
from metta_sandbox.scenario.overrides import nearest
from metta_sandbox.stack.node_environment import job_environment
from metta_sandbox.stack.process import ProcessStack
from metta_sandbox.stack.request import HOME, RUN_FOLDER, WORKSPACE
from metta_sandbox.stack.standing import PROJECT, Record, standing_folder
from metta_sandbox.stack.status import stack_status

_POLL = 0.2


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
    near = nearest(bare, hosts)
    did_you_mean = f"did you mean {near}?" if near else f"there are {', '.join(hosts)}"
    raise InputError(f"the standing stack has no {word}", did_you_mean)


def read_logs(record: Record, hosts: tuple[str, ...], *, follow: bool) -> Iterator[LogLine]:
    """Give the lines of logs: what is there in one order, by time, and then what comes."""
    if record.engine == "process":
        return _files(hosts, follow=follow)
    return _followed(hosts) if follow else _merged(hosts)


def shell_command(record: Record, host: str) -> tuple[list[str], dict[str, str] | None, str | None]:
    """Build the command that opens a shell on a node, as the sweep's own processes see it.

    Returns:
        The command, its environment and its folder; None where they are this process's.

    """
    rank = record.hosts.index(host)
    addresses = [part.address for part in stack_status(record).parts if part.rank is not None]
    job = job_environment(rank, addresses, record.hosts[0], ("shell",))
    for name in ("METTA_CMD", "METTA_CMD_ARGS", "METTA_RUN_ID"):
        job.pop(name)
    if record.engine == "process":
        stack = ProcessStack(record.plan(), record.python)
        env = {**stack.environment(host), **stack.service_environment(record.ready), **job}
        return ["bash", "--noprofile", "--norc", "-i"], env, stack.working_folder()
    words = [word for name, value in job.items() for word in ("--env", f"{name}={value}")]
    cwd = WORKSPACE if record.source else RUN_FOLDER
    container = f"{PROJECT}-{host}"
    return (
        ["docker", "exec", "-it", "--workdir", cwd, "--env", f"HOME={HOME}", *words,
         container, "bash"],
        None,
        None,
    )  # fmt: skip


def open_shell(record: Record, host: str) -> int:
    """Open a shell on a node, on this terminal; returns its exit status."""
    command, env, cwd = shell_command(record, host)
    return subprocess.run(command, env=env, cwd=cwd, check=False).returncode


def _lines(host: str, *options: str) -> Iterator[tuple[datetime, LogLine]]:
    command = ["docker", "logs", "--timestamps", *options, f"{PROJECT}-{host}"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                stamp, _, text = line.rstrip("\n").partition(" ")
                yield _when(stamp), LogLine(host, text)
        finally:
            process.kill()


def _when(stamp: str) -> datetime:
    """Read the engine's time stamp, which has more digits than Python knows."""
    whole, _, rest = stamp.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{rest[:6]:0<6}+00:00")


def _merged(hosts: tuple[str, ...]) -> Iterator[LogLine]:
    streams = [_lines(host) for host in hosts]
    for _, line in heapq.merge(*streams, key=lambda stamped: stamped[0]):
        yield line


def _followed(hosts: tuple[str, ...]) -> Iterator[LogLine]:
    """Give the last lines in one order, and then each line as it comes."""
    began = time.time()
    came: Queue[LogLine] = Queue(maxsize=10_000)

    def follow(host: str) -> None:
        for _, line in _lines(host, "--follow", f"--since={began}"):
            came.put(line)

    yield from _merged(hosts)
    threads = [Thread(target=follow, args=(host,), daemon=True) for host in hosts]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) or not came.empty():
        try:
            yield came.get(timeout=_POLL)
        except Empty:
            continue


def _files(hosts: tuple[str, ...], *, follow: bool) -> Iterator[LogLine]:
    """Give the lines of local processes' logs, host by host (they bear no time); then new ones."""
    paths = {host: standing_folder() / "logs" / f"{host}.log" for host in hosts}
    positions: dict[str, int] = dict.fromkeys(hosts, 0)
    while True:
        for host, path in paths.items():
            text, positions[host] = _from(path, positions[host])
            yield from (LogLine(host, line) for line in text.splitlines())
        if not follow:
            return
        time.sleep(_POLL)


def _from(path: Path, position: int) -> tuple[str, int]:
    """Read whole lines from a place in a file on, and return where they end."""
    if not path.exists():
        return "", position
    with path.open("rb") as file:
        file.seek(position)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    return whole.decode(errors="replace"), position + len(whole)
