"""Look at every process of a node: what it is, and where in its Python each thread is.

Arguments: a file's name, then the pids that matter most. All goes into that file, in the folder
that all nodes share, as it is too long to be forwarded; what the node has left, and what went
wrong, is printed as a line of JSON, too. Where the file can't be written, as the disk is full, all
is printed, packed. Stacks come from py-spy; without it, or where the kernel
forbids it, the rest is told all the same, as Python's own calls are where those of C and C++ are
wanted and can't be had. Fields are those of ``metta_sandbox.autopsy.seen``.
"""

import base64
import json
import linecache
import os
import selectors
import shutil
import socket
import subprocess
import sys
import time
import zlib
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

PROC = Path("/proc")
#: Seconds within which py-spy must have told of all processes, and of their calls of C and C++.
PATIENCE, NATIVE_PATIENCE = 8.0, 5.0
#: Set to anything where those are wanted, too.
NATIVE_STACKS = "METTA_NATIVE_STACKS"
#: Seconds within which ranks must have told which collectives they have entered, from when all
#: stacks were read: one whose lock is held never does.
TELLING = 1.0
#: What is quoted of a line of source, and of a word of a command, at most.
LONGEST = 160
#: Characters of a line of which nothing is lost on its way.
LINE = 8000
#: The kernel's numbers of a socket's states (include/net/tcp_states.h).
STATES = {"01": "established", "02": "connecting", "08": "closed by peer", "0A": "listening"}
#: Fields of /proc/PID/stat from the third on (man 5 proc): state, parent, times, memory.
STATE, PARENT, UTIME, STIME, RSS = 0, 1, 11, 12, 21


def read(path: Any) -> Any:
    """Read a file of the kernel's; empty if it is gone or not for us."""
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""


def stat(pid: Any) -> Any:
    """Give a process's fields after its name, which may hold anything; None if it is gone."""
    fields = read(PROC / str(pid) / "stat").rpartition(")")[2].split()
    return fields if len(fields) > RSS else None


def below(ancestor: Any) -> Any:
    """List the live descendants of a process, but for this one."""
    parents = {}
    for entry in PROC.iterdir():
        fields = stat(entry.name) if entry.name.isdigit() else None
        if fields and fields[STATE] != "Z":
            parents[int(entry.name)] = int(fields[PARENT])
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
    numbers = sorted(int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    return [
        pid
        for pid in numbers
        if pid not in own and mark in read(PROC / str(pid) / "environ").split("\0")
    ]


def is_python(pid: Any) -> Any:
    """Tell whether a process is an interpreter, or has one in it."""
    with suppress(OSError):
        if "python" in (PROC / str(pid) / "exe").readlink().name:
            return True
    return "libpython" in read(PROC / str(pid) / "maps")


def address(text: Any) -> Any:
    """Read an address as the kernel writes it: words of hexadecimal digits, and a port."""
    host, _, port = text.partition(":")
    last = bytes.fromhex(host)[-4:][::-1]
    return f"{'.'.join(map(str, last))}:{int(port, 16)}"


def sockets() -> Any:
    """Find the TCP sockets of this network, by inode."""
    found = {}
    for name in ("tcp", "tcp6"):
        for line in read(PROC / "self" / "net" / name).splitlines()[1:]:
            fields = line.split()
            if fields[3] in STATES:
                found[f"socket:[{fields[9]}]"] = {
                    "local": address(fields[1]),
                    "remote": address(fields[2]),
                    "state": STATES[fields[3]],
                    "unsent": int(fields[4].split(":")[0], 16),
                }
    return found


def sockets_of(pid: Any, known: Any) -> Any:
    """List a process's sockets."""
    found: Any = []
    with suppress(OSError):
        for number in (PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                found.append(known.get(str(number.readlink())))
    return [each for each in found if each]


def spy() -> Any:
    """Find py-spy: beside the interpreter, or on the path."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("py-spy")


def dumps(program: Any, hows: Any, patience: Any) -> Any:
    """Ask for the stacks of all at once, of each in its way; give threads, and problems, by pid."""
    running = {}
    for pid, how in hows.items():
        running[pid] = subprocess.Popen(
            [program, "dump", "--json", *how, "--pid", str(pid)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    deadline, found, problems = time.monotonic() + patience, {}, {}
    for pid, process in running.items():
        try:
            out, err = process.communicate(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            problems[pid] = "py-spy did not come to an end"
            continue
        try:
            found[pid] = [thread(one) for one in json.loads(out.decode())]
        except (ValueError, KeyError, TypeError):
            said = err.decode(errors="replace").split("\n")[0].strip()
            problems[pid] = said or f"py-spy ended with {process.returncode}"
    return found, problems


def stacks(program: Any, pids: Any, stopped: Any) -> Any:
    """Read the stacks of all; give threads, what went wrong, and why no native ones, by pid.

    One that a signal has stopped can't be paused, so that what it calls in C can't be read.
    """
    found: Any = {}
    native: Any = {}
    if os.environ.get(NATIVE_STACKS):
        moving = {pid: ["--native"] for pid in pids if pid not in stopped}
        found, native = dumps(program, moving, NATIVE_PATIENCE)
        native.update(dict.fromkeys(stopped, "it is stopped"))
    rest = {pid: ["--nonblocking"] if pid in stopped else [] for pid in pids if pid not in found}
    told, problems = dumps(program, rest, PATIENCE)
    return {**found, **told}, problems, native


def thread(told: Any) -> Any:
    """Take of a thread what counts, with the lines of source."""
    calls = told["frames"]
    frames = [
        {
            "function": frame["name"],
            "file": frame["filename"],
            "line": frame["line"],
            "source": linecache.getline(frame["filename"], frame["line"]).strip()[:LONGEST],
        }
        for frame in calls
        if not is_native(frame)
    ]
    return {
        "name": told.get("thread_name") or "",
        "id": told.get("os_thread_id"),
        "active": bool(told.get("active")),
        "owns_gil": bool(told.get("owns_gil")),
        "frames": frames,
        "native": [outline(frame) for frame in calls] if any(map(is_native, calls)) else [],
    }


def is_native(frame: Any) -> Any:
    """Tell whether a call is one of C or C++: it is in a library, and on no line of a source."""
    return bool(frame.get("module")) and not frame["line"]


def outline(frame: Any) -> Any:
    """Say what a call is and where: in a library, or on a line of Python."""
    line = "" if is_native(frame) else f":{frame['line']}"
    return f"{frame['name'][:LONGEST]} ({Path(frame['filename']).name}{line})"


def ask(pids: Any) -> Any:
    """Ask ranks which collectives they have entered; see ``node.agent.flight``."""
    asked = {}
    for pid in pids:
        asking = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        asking.setblocking(False)
        try:
            asking.connect(f"\0metta-flight-{pid}")
        except OSError:
            asking.close()
        else:
            asked[pid] = asking
    return asked


def answers(asked: Any) -> Any:
    """Take what they say, by pid, of those that say it soon."""
    told = dict.fromkeys(asked, b"")
    over: Any = {}
    deadline = time.monotonic() + TELLING
    with ExitStack() as opened:
        waiting = opened.enter_context(selectors.DefaultSelector())
        for pid, asking in asked.items():
            waiting.register(opened.enter_context(asking), selectors.EVENT_READ, pid)
        while len(over) < len(told) and time.monotonic() < deadline:
            for key, _ in waiting.select(max(0.0, deadline - time.monotonic())):
                data = take(key.fileobj)
                told[key.data] += data
                if not data:
                    waiting.unregister(key.fileobj)
                    over[key.data] = told[key.data]
    return {pid: json.loads(data) for pid, data in over.items() if data}


def take(asking: Any) -> Any:
    """Read what has come; nothing more will, if nothing did."""
    with suppress(OSError):
        return asking.recv(1 << 20)
    return b""


def seconds(fields: Any) -> Any:
    """Add up the processor time that a process has used."""
    return (int(fields[UTIME]) + int(fields[STIME])) / os.sysconf("SC_CLK_TCK")


def oom_kills() -> Any:
    """Count the kernel's kills for want of memory in this container; None if nobody counts."""
    for name in ("memory.events", "memory/memory.oom_control"):
        for line in read(Path("/sys/fs/cgroup") / name).splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None


def processes(first: Any) -> Any:
    """Look at all of them; also says why there are no stacks, if there are none."""
    known, found = sockets(), {}
    agent = os.getppid()
    descendants = below(agent)
    for pid in [*descendants, *marked({agent, os.getpid(), *descendants})]:
        fields = stat(pid)
        if fields is None:
            continue
        words = read(PROC / str(pid) / "cmdline").split("\0")
        found[pid] = {
            "pid": pid,
            "parent": int(fields[PARENT]),
            "state": fields[STATE],
            "command": [word[:LONGEST] for word in words if word],
            "cpu": seconds(fields),
            "rss": int(fields[RSS]) * os.sysconf("SC_PAGE_SIZE"),
            "wchan": read(PROC / str(pid) / "wchan"),
            "sockets": sockets_of(pid, known),
        }
    pythons = sorted((pid for pid in found if is_python(pid)), key=lambda pid: pid not in first)
    stopped = {pid for pid, process in found.items() if process["state"] in "Tt"}
    asked = ask(set(pythons) - stopped)
    program = spy()
    if program is not None:
        read_stacks(program, found, pythons, stopped)
    for pid, recorded in answers(asked).items():
        found[pid]["recorded"] = recorded
    return list(found.values()), "" if program is not None else "py-spy is not there"


def read_stacks(program: Any, found: Any, pythons: Any, stopped: Any) -> None:
    """Add to each process where its threads are, and what it used meanwhile."""
    threads, problems, native = stacks(program, pythons, stopped & set(pythons))
    for pid, process in found.items():
        again = stat(pid)
        process["threads"] = threads.get(pid, [])
        process["threads_problem"] = problems.get(pid, "")
        process["native_problem"] = native.get(pid, "")
        process["cpu_since"] = seconds(again) - process["cpu"] if again else 0


def look(folder: Any, first: Any) -> Any:
    """See all that an autopsy asks of a node."""
    seen, problem = processes(first)
    available = [
        int(line.split()[1]) * 1024
        for line in read(PROC / "meminfo").splitlines()
        if line.startswith("MemAvailable:")
    ]
    return {
        "processes": seen,
        "stacks_problem": problem,
        "disk_free": shutil.disk_usage(folder).free,
        "memory_free": available[0] if available else None,
        "oom_kills": oom_kills(),
        "problem": "",
    }


def main(file: Any, first: Any) -> None:
    """Write what is seen."""
    told = look(file.parent, first)
    try:
        file.write_text(json.dumps(told), encoding="utf-8")
    except OSError as error:
        packed = pack(told)
        if len(packed) <= LINE:
            sys.stdout.write(json.dumps({"packed": packed}) + "\n")
            return
        told["problem"] = f"{file}: {error.strerror}"
    sys.stdout.write(json.dumps({**told, "processes": []}) + "\n")


def pack(told: Any) -> Any:
    """Make what was seen short enough to be printed: without what only a file has room for."""
    short = ({**each, "recorded": None} for each in told["processes"])
    told = {**told, "processes": list(short)}
    return base64.b64encode(zlib.compress(json.dumps(told).encode(), 9)).decode()


if __name__ == "__main__":
    main(Path(os.environ["METTA_RUN_FOLDER"], sys.argv[1]), [int(word) for word in sys.argv[2:]])
