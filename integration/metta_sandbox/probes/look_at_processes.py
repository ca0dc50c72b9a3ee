"""Look at every process of a node: what it is, and where in its Python each thread is.

Arguments: a file's name, then the pids that matter most. All goes into that file, in the folder
that all nodes share, as it is too long to be forwarded; what the node has left, and what went
wrong, is printed as a line of JSON, too. Where the file can't be written, as the disk is full, all
is printed, packed. Stacks come from py-spy; without it, or where the kernel forbids it, the rest is
told all the same, as Python's own calls are where those of C and C++ are wanted and can't be had.
Needs the agent's files, and nothing else. Fields are those of ``metta_sandbox.autopsy.seen``.

All is looked at twice, some seconds apart, to tell what moves from what stands still. What the
first look showed is written before the second, so that it is there even if that one is cut off.
"""

import base64
import json
import os
import platform
import shutil
import sys
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

# A node need not have this package; what it is made of lies beside the agent.
if __name__ == "__main__" and "METTA_AGENT" in os.environ:
    sys.path.insert(0, os.environ["METTA_AGENT"])

from metta_sandbox.node.agent import kernel
from metta_sandbox.node.agent.kernel import PARENT, RSS, STATE, STIME, UTIME
from metta_sandbox.node.agent.load import slowed
from metta_sandbox.node.agent.oom_kills import oom_kills
from metta_sandbox.node.agent.recorder.asking import answers, ask
from metta_sandbox.node.agent.stacks import PATIENCE, dumps, spy, stacks

#: Seconds from the beginning by which all must be told.
LIMIT = slowed(12.5)
#: Says how many seconds lie between two looks, if it is to be others.
BETWEEN_LOOKS = "METTA_BETWEEN_LOOKS"
#: Seconds between two looks; none that could last shorter than ``SHORTEST`` is begun.
BETWEEN, SHORTEST = float(os.environ.get(BETWEEN_LOOKS, "2")), 0.5
#: Two looks at all stacks are worth it where the first one took no more seconds than these.
QUICK = 1.0
#: A thread that used more seconds of processor time than this between two looks has moved.
MOVED = 0.05
#: At most so many threads of a process are looked at, and so many are told that run no Python.
THREADS, NATIVE_THREADS = 256, 16
#: What is quoted of a word of a command, at most.
LONGEST = 160
#: Characters of a line of which nothing is lost on its way.
LINE = 8000
#: The kernel's numbers of a socket's states (include/net/tcp_states.h).
STATES = {"01": "established", "02": "connecting", "08": "closed by peer", "0A": "listening"}


def stat(pid: Any) -> Any:
    """Give a process's fields after its name, which may hold anything; empty if it is gone."""
    return kernel.fields(f"/proc/{pid}/stat")


def below(ancestor: Any) -> Any:
    """List the live descendants of a process, but for this one."""
    parents = {}
    for pid in kernel.numbers("/proc"):
        fields = stat(pid)
        if fields and fields[STATE] != "Z":
            parents[pid] = int(fields[PARENT])
    parents.pop(os.getpid(), None)
    found = [ancestor]
    for pid in found:
        found += sorted(child for child, parent in parents.items() if parent == pid)
    return found[1:]


def marked(own: Any) -> Any:
    """List live processes that bear this node's mark: ranks' parents may be no child of the agent.

    Warm servers of a run's local nodes are forked from a process that all of them share.
    """
    mark = f"METTA_EVENTS={os.environ.get('METTA_EVENTS')}"
    return [
        pid
        for pid in kernel.numbers("/proc")
        if pid not in own and mark in kernel.text(f"/proc/{pid}/environ").split("\0")
    ]


def is_python(pid: Any) -> Any:
    """Tell whether a process is an interpreter, or has one in it."""
    program = Path(kernel.target(f"/proc/{pid}/exe")).name
    return "python" in program or "libpython" in kernel.text(f"/proc/{pid}/maps")


def address(text: Any) -> Any:
    """Read an address as the kernel writes it: words of hexadecimal digits, and a port."""
    host, _, port = text.partition(":")
    last = bytes.fromhex(host)[-4:][::-1]
    return f"{'.'.join(map(str, last))}:{int(port, 16)}"


def sockets() -> Any:
    """Find the TCP sockets of this network, by inode."""
    found = {}
    for name in ("tcp", "tcp6"):
        for line in kernel.text(f"/proc/self/net/{name}").splitlines()[1:]:
            fields = line.split()
            if fields[3] in STATES:
                inode = f"socket:[{fields[9]}]"
                found[inode] = {
                    "inode": inode,
                    "local": address(fields[1]),
                    "remote": address(fields[2]),
                    "state": STATES[fields[3]],
                    "unsent": int(fields[4].split(":")[0], 16),
                }
    return found


def sockets_of(pid: Any, known: Any) -> Any:
    """List a process's sockets."""
    numbers = kernel.numbers(f"/proc/{pid}/fd")
    found = (known.get(kernel.target(f"/proc/{pid}/fd/{number}")) for number in numbers)
    return [each for each in found if each]


def seconds(fields: Any) -> Any:
    """Add up the processor time that a process has used."""
    return (int(fields[UTIME]) + int(fields[STIME])) / os.sysconf("SC_CLK_TCK")


def processes(first: Any) -> Any:
    """Look at all of them, by pid, at what they hold and wait for, but for their stacks."""
    known, found, machine = sockets(), {}, platform.machine()
    agent = os.getppid()
    descendants = below(agent)
    pids = [*descendants, *marked({agent, os.getpid(), *descendants})]
    awaited = kernel.locks(pids)
    for pid in pids:
        fields = stat(pid)
        if not fields:
            continue
        words = kernel.text(f"/proc/{pid}/cmdline").split("\0")
        found[pid] = {
            "pid": pid,
            "name": kernel.text(f"/proc/{pid}/comm").rstrip("\n"),
            "parent": int(fields[PARENT]),
            "state": fields[STATE],
            "command": [word[:LONGEST] for word in words if word],
            "cpu": seconds(fields),
            "rss": int(fields[RSS]) * os.sysconf("SC_PAGE_SIZE"),
            "wchan": kernel.text(f"/proc/{pid}/wchan"),
            "sockets": sockets_of(pid, known),
            "environ": kernel.environ(pid),
            "age": kernel.age(fields),
            "fds": kernel.held(pid),
            "torch": "libtorch" in kernel.text(f"/proc/{pid}/maps"),
            "locks": awaited.get(pid, []),
            "threads": kernel_threads(pid, machine),
        }
    order = sorted(found, key=lambda pid: (pid not in first, of_ours(found[pid]), pid))
    return {pid: found[pid] for pid in order}


def of_ours(process: Any) -> Any:
    """Tell whether a process is a helper of ours, whose stack hardly matters."""
    return any(".pyz" in word for word in process["command"])


def kernel_threads(pid: Any, machine: Any) -> Any:
    """Look at each thread of a process from outside, the main one first."""
    waiting, found = kernel.Waiting(pid, machine), []
    for tid in kernel.numbers(f"/proc/{pid}/task")[:THREADS]:
        task = f"/proc/{pid}/task/{tid}"
        fields = kernel.fields(f"{task}/stat")
        if fields:
            found.append(
                {
                    "id": tid,
                    "name": kernel.text(f"{task}/comm").rstrip("\n"),
                    "state": fields[STATE],
                    "wchan": kernel.text(f"{task}/wchan"),
                    "waits": waiting.of(tid),
                    "used": kernel.used(pid, tid),
                }
            )
    return sorted(found, key=lambda one: one["id"] != pid)


class Look:
    """A node as it is seen: first at once, then once more to tell what has moved.

    Args:
        folder: One on the disk that all nodes share.
        first: The pids that matter most.

    """

    def __init__(self, folder: Any, first: Any) -> None:
        self._folder, self._began = folder, time.monotonic()
        self._time, self._program = time.time(), spy()
        self._found = processes(first)
        self._seen = time.monotonic()
        self._pythons = [pid for pid in self._found if is_python(pid)]
        self._stopped = {pid for pid, one in self._found.items() if one["state"] in "Tt"}
        self._frames: Any = {}

    def at_once(self) -> None:
        """See where all threads are, and what ranks have entered."""
        asked = ask(set(self._pythons) - self._stopped)
        if self._program is not None:
            told = stacks(self._program, self._pythons, self._stopped & set(self._pythons))
            self._frames, problems, native = told
            for pid, process in self._found.items():
                process["threads_problem"] = problems.get(pid, "")
                process["native_problem"] = native.get(pid, "")
        for pid, recorded in answers(asked).items():
            self._found[pid]["recorded"] = recorded
        self._took = time.monotonic() - self._seen

    def again(self) -> None:
        """See what has moved since, and which of those that run run elsewhere."""
        left = self._began + LIMIT - time.monotonic()
        time.sleep(max(0.0, min(self._seen + BETWEEN - time.monotonic(), left)))
        for pid, process in self._found.items():
            fields = stat(pid)
            process["cpu_since"] = max(0.0, seconds(fields) - process["cpu"]) if fields else 0
            for one in process["threads"]:
                one["cpu_since"] = max(0.0, kernel.used(pid, one["id"]) - one["used"])
        left = self._began + LIMIT - time.monotonic()
        if self._program is None or left < SHORTEST:
            return
        hows: Any = {
            pid: [] for pid in self._pythons if pid in self._frames and pid not in self._stopped
        }
        if self._took > QUICK:
            hows = {pid: how for pid, how in hows.items() if runs(self._found[pid])}
        later, _ = dumps(self._program, hows, min(slowed(PATIENCE), left))
        for pid, threads in later.items():
            places = {each["id"]: each["frames"] for each in threads}
            for each in self._frames[pid]:
                each["elsewhere"] = each["frames"] != places.get(each["id"])

    def told(self, *, compared: Any) -> Any:
        """Build the report of all that was seen."""
        return {
            "processes": [
                {**one, "threads": merged(one["threads"], self._frames.get(pid, ()), compared)}
                for pid, one in sorted(self._found.items())
            ],
            "stacks_problem": "" if self._program is not None else "py-spy is not there",
            "disk_free": shutil.disk_usage(self._folder).free,
            "memory_free": memory_free(),
            "oom_kills": oom_kills(),
            "load": os.getloadavg()[0],
            "time": self._time,
            "problem": "",
        }


def runs(process: Any) -> Any:
    """Tell whether one of a process's threads was running, or ran since."""
    return any(one["state"] == "R" or one["cpu_since"] > MOVED for one in process["threads"])


def merged(tasks: Any, stacks: Any, compared: Any) -> Any:
    """Join what the kernel and py-spy say of the threads of a process.

    Of those that run no Python, the main one is told, and those that are at work.
    """
    threads = {one["id"]: dict(one) for one in tasks}
    seen = {each["id"] for each in stacks}
    for each in stacks:
        whole = {**threads.get(each["id"], {}), **each}
        whole["name"] = each["name"] or whole["name"]
        threads[each["id"]] = whole
    found: Any = []
    others: Any = []
    for number, one in threads.items():
        used = one.get("cpu_since", 0)
        elsewhere = one.pop("elsewhere", None)
        one.pop("used", None)
        if compared:
            moved = used > MOVED or bool(elsewhere)
            one["moved"] = moved if moved or elsewhere is not None or number not in seen else None
        if number in seen or not found:
            found.append(one)
        elif used > MOVED or one["state"] in "RD":
            others.append(one)
    return [*found, *others[:NATIVE_THREADS]]


def memory_free() -> Any:
    """Give the bytes that can be had without swapping; None if nobody tells."""
    for line in kernel.text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def main(file: Any, first: Any) -> None:
    """Look at the node twice, and write the report after each look."""
    look = Look(file.parent, first)
    look.at_once()
    with suppress(OSError):
        write(file, look.told(compared=False))
    look.again()
    told = look.told(compared=True)
    try:
        write(file, told)
    except OSError as error:
        packed = pack(told)
        if len(packed) <= LINE:
            sys.stdout.write(json.dumps({"packed": packed}) + "\n")
            return
        told["problem"] = f"{file}: {error.strerror}"
    sys.stdout.write(json.dumps({**told, "processes": []}) + "\n")


def write(file: Any, told: Any) -> None:
    """Write a report in one go: a probe that is cut off leaves the report before."""
    draft = file.with_name(f"{file.name}.draft")
    try:
        draft.write_text(json.dumps(told), encoding="utf-8")
        draft.replace(file)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def pack(told: Any) -> Any:
    """Make what was seen short enough to be printed: without what only a file has room for."""
    short = ({**each, "recorded": None} for each in told["processes"])
    told = {**told, "processes": list(short)}
    return base64.b64encode(zlib.compress(json.dumps(told).encode(), 9)).decode()


if __name__ == "__main__":
    main(Path(os.environ["METTA_RUN_FOLDER"], sys.argv[1]), [int(word) for word in sys.argv[2:]])
