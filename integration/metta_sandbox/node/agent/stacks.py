"""Where the threads of other processes are, by py-spy: in Python, and in C and C++ if wanted."""

import json
import linecache
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Collection, Dict, Iterable, List, Mapping, Optional, Tuple

from metta_sandbox.node.agent.load import slowed
from metta_sandbox.node.agent.processes import dying_with_this

#: Seconds within which py-spy must have told of all processes, and of their calls of C and C++.
PATIENCE, _NATIVE_PATIENCE = 7.0, 5.0
#: Set to anything where those are wanted, too.
NATIVE_STACKS = "METTA_NATIVE_STACKS"
#: So many stacks are read at a time: more only wait for each other.
_AT_ONCE = 8
#: What is quoted of a line of source, at most.
_LONGEST = 160

#: Where calls say with whom they communicate, and how.
_C10D = "torch/distributed/distributed_c10d.py"
_PEERS = frozenset({"src", "dst", "group_src", "group_dst"})

#: Threads, and what went wrong, by pid.
Threads = Dict[int, List[Dict[str, Any]]]
Problems = Dict[int, str]


def spy() -> Optional[str]:
    """Find py-spy: beside the interpreter, on the path, or where its package says that it lies.

    An environment that was made over another has the other's packages, and not its programs.
    """
    beside = Path(sys.executable).with_name("py-spy")
    if os.access(beside, os.X_OK):
        return str(beside)
    return shutil.which("py-spy") or _packaged()


def _packaged() -> Optional[str]:
    """Find py-spy where its package says that it lies."""
    from importlib import metadata  # noqa: PLC0415 - slow to import

    with suppress(metadata.PackageNotFoundError):
        for file in metadata.files("py-spy") or ():
            program = Path(str(file.locate())).resolve()
            if program.name == "py-spy" and os.access(program, os.X_OK):
                return str(program)
    return None


def dumps(program: str, hows: Mapping[int, List[str]], patience: float) -> Tuple[Threads, Problems]:
    """Ask for the stacks of all, of each in its way; give threads, and problems, by pid."""
    deadline = time.monotonic() + patience
    found: Threads = {}
    problems: Problems = {}

    def dump(pid: int) -> "subprocess.CompletedProcess[bytes]":
        left = deadline - time.monotonic()
        if left <= 0:
            raise subprocess.TimeoutExpired(program, patience)
        command = [program, "dump", "--json", "--locals", *hows[pid], "--pid", str(pid)]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=left, check=False
        )

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        running = {pid: pool.submit(dump, pid) for pid in hows}
    for pid, future in running.items():
        try:
            done = future.result()
        except subprocess.TimeoutExpired:
            problems[pid] = "py-spy did not come to an end"
            continue
        try:
            found[pid] = [_thread(one) for one in json.loads(done.stdout.decode())]
        except (ValueError, KeyError, TypeError):
            said = done.stderr.decode(errors="replace").split("\n")[0].strip()
            problems[pid] = said or f"py-spy ended with {done.returncode}"
    return found, problems


def stacks(
    program: str, pids: Iterable[int], stopped: Collection[int]
) -> Tuple[Threads, Problems, Problems]:
    """Read the stacks of all; give threads, what went wrong, and why no native ones, by pid.

    One that a signal has stopped can't be paused, so that what it calls in C can't be read.
    """
    found: Threads = {}
    native: Problems = {}
    pids = list(pids)
    if os.environ.get(NATIVE_STACKS):
        moving = {pid: ["--native"] for pid in pids if pid not in stopped}
        found, native = dumps(program, moving, slowed(_NATIVE_PATIENCE))
        native.update(dict.fromkeys(stopped, "it is stopped"))
    rest: Dict[int, List[str]] = {
        pid: ["--nonblocking"] if pid in stopped else [] for pid in pids if pid not in found
    }
    told, problems = dumps(program, rest, slowed(PATIENCE))
    return {**found, **told}, problems, native


def _thread(told: Dict[str, Any]) -> Dict[str, Any]:
    """Take of a thread what counts, with the lines of source."""
    calls = told["frames"]
    frames = [
        {
            "function": frame["name"],
            "file": frame["filename"],
            "line": frame["line"],
            "source": linecache.getline(frame["filename"], frame["line"]).strip()[:_LONGEST],
            "args": _arguments(frame),
        }
        for frame in calls
        if not _is_native(frame)
    ]
    return {
        "name": told.get("thread_name") or "",
        "id": told.get("os_thread_id"),
        "active": bool(told.get("active")),
        "owns_gil": bool(told.get("owns_gil")),
        "frames": frames,
        "native": [_outline(frame) for frame in calls] if any(map(_is_native, calls)) else [],
    }


def _arguments(frame: Dict[str, Any]) -> Dict[str, str]:
    """Take with whom a call of torch.distributed communicates; no other variable is kept."""
    if not frame["filename"].endswith(_C10D):
        return {}
    return {
        one["name"]: one["repr"]
        for one in frame.get("locals") or ()
        if one["name"] in _PEERS and str(one["repr"]).isdigit()
    }


def _is_native(frame: Dict[str, Any]) -> bool:
    """Tell whether a call is one of C or C++: it is in a library, and on no line of a source."""
    return bool(frame.get("module")) and not frame["line"]


def _outline(frame: Dict[str, Any]) -> str:
    """Say what a call is and where: in a library, or on a line of Python."""
    line = "" if _is_native(frame) else f":{frame['line']}"
    return f"{frame['name'][:_LONGEST]} ({Path(frame['filename']).name}{line})"


def problem() -> str:
    """Say why the stack of a process can't be read that was started as a node's are, if so."""
    program = spy()
    if program is None:
        return "py-spy is not there"
    asleep = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(
        asleep, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=dying_with_this()
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        _, problems = dumps(program, {process.pid: []}, PATIENCE)
        process.kill()
    return problems.get(process.pid, "")


if __name__ == "__main__":
    sys.stdout.write(f"{problem()}\n")
