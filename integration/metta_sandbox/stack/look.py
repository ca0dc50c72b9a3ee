"""Looking into a standing stack: its logs, and a shell on one of its nodes."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.names import API
from metta_sandbox.scenario.overrides import nearest
from metta_sandbox.stack.engines import find
from metta_sandbox.stack.engines.view import Shell, StackLogLine
from metta_sandbox.stack.node_environment import job_environment
from metta_sandbox.stack.standing_record import PROJECT, StandingRecord, StandingUse, last_use
from metta_sandbox.stack.status import stack_status


def all_hosts(record: StandingRecord) -> tuple[str, ...]:
    """Return every host that has a log."""
    return (*record.hosts, API)


def host_named(record: StandingRecord, word: str, *, nodes_only: bool = False) -> str:
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


def read_logs(
    record: StandingRecord, hosts: tuple[str, ...], *, follow: bool
) -> Iterator[StackLogLine]:
    """Yield the lines of logs: what is there in one order, by time, and then what comes."""
    return find(record.engine).view(record).logs(hosts, follow=follow)


def shell_on(record: StandingRecord, host: str) -> Shell:
    """Say what opens a shell on a node, as the sweep's own processes see it.

    ``METTA_RUN_ID``, ``METTA_CMD`` and ``METTA_CMD_ARGS`` are those of the sweep that is on the
    stack, or else of the last one that was.
    """
    rank = record.hosts.index(host)
    addresses = [part.address for part in stack_status(record).parts if part.rank is not None]
    use = last_use() or StandingUse("", "", ("shell",))
    job = job_environment(rank, addresses, use.sweep, use.words, record.plan().num_gpus)
    return find(record.engine).view(record).shell(host, job)


def open_shell(record: StandingRecord, host: str) -> int:
    """Open a shell on a node, on this terminal; returns its exit status."""
    shell = shell_on(record, host)
    # Ctrl-C at the terminal is the shell's to hear (which does not inherit a handler).
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        status = subprocess.run(shell.command, env=shell.env, cwd=shell.cwd, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)
    return status if status >= 0 else 128 - status
