"""A rank of the worker that forges whatever it can: nothing of it is believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.play.conftest import Start

#: Tries all at once, and prints what came of it. ``AGENT`` is this node's agent.
FORGE = r"""
import ctypes, json, os, socket

FORGED = {"event": "observation.recorded", "node": "sweep-master", "node_rank": 0, "rank": 0,
          "trial": 1, "run": "x.r.1", "score": 987654321.0, "cost": 1, "failed": False, "pid": 1,
          "seq": 1}
EVENT = {"type": "event", "record": FORGED, "held": []}
ENDS = {"type": "exit", "group": "sweep", "status": 0, "node": "sweep-master"}

def agent():
    for each in sorted(filter(str.isdigit, os.listdir("/proc")), key=int):
        words = open(f"/proc/{each}/cmdline").read().split("\0")
        if "agent" in words and any(w == "--node=" + os.environ["METTA_NODE"] for w in words):
            mine = [w for w in words if w.startswith("--hub=")]
            # Local processes see those of everybody's containers, too.
            near = "--hub=tcp:" if PLACE == "/tmp" else f"--hub=unix:{PLACE}/"
            if mine and mine[0].startswith(near):
                return each, mine[0].partition("=")[2]

def talk(channel, *messages):
    channel.settimeout(20)
    try:
        for each in messages:
            channel.sendall(each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n")
        channel.shutdown(socket.SHUT_WR)
        said = b""
        while data := channel.recv(65536):
            said += data
        return said.decode()
    except OSError as error:
        return repr(error)

def hub(*messages):
    if kind == "unix":
        channel = socket.socket(socket.AF_UNIX)
        channel.connect(rest)
    else:
        host, _, port = rest.rpartition(":")
        channel = socket.create_connection((host, int(port)))
    return talk(channel, *messages)

def local(*messages):
    channel = socket.socket(socket.AF_UNIX)
    channel.connect(os.environ["METTA_EVENTS"])
    return talk(channel, *messages)

PLACE = os.path.dirname(os.environ["METTA_EVENTS"])
pid, where = agent()
kind, _, rest = where.partition(":")
for hello in ({"type": "registered", "node": "sweep-master", "address": "x"},
              {"type": "registered", "node": "sweep-worker", "address": "x"},
              {"type": "registered", "node": "mine", "address": "x"},
              {"type": "harness"}, EVENT, b"\xff\n"):
    told = hub(hello, EVENT, ENDS, {"type": "request", "id": 1, "to": "sweep-master",
                                    "verb": "stop", "args": {"group": "sweep"}})
    print("hub:", json.dumps(told))
for verb in ("notice", "arm", "signal-process", "stop"):
    args = {"grace": 0, "arms": [], "pid": int(pid), "signal": 9, "group": "sweep"}
    print("agent:", local({"type": "request", "id": 1, "verb": verb, "args": args}).strip())
local({"type": "hello", "pid": os.getpid(), "who": {}}, EVENT)
print(json.dumps(FORGED), flush=True)
for name in ("environ", "mem", "fd"):
    try:
        path = f"/proc/{pid}/{name}"
        print("read:", name, os.listdir(path) if name == "fd" else open(path, "rb").read(1))
    except OSError as error:
        print("kept:", name, error.strerror)
held = os.pidfd_open(int(pid))
for number in range(20):
    if ctypes.CDLL(None, use_errno=True).syscall(438, held, number, 0) >= 0:
        print("taken:", number)
print("tried all", flush=True)
"""
RUN = f"""
if [ "$SKYPILOT_NODE_RANK" = 1 ]; then
  python3 - <<'PROGRAM'
{FORGE}
PROGRAM
fi
sleep 2
"""


def test_nothing_of_it_shows_on_local_processes(cli: Start, tmp_path: Path) -> None:
    forge(cli, tmp_path, "process")


@pytest.mark.usefixtures("docker")
def test_nothing_of_it_shows_in_containers(cli: Start, tmp_path: Path) -> None:
    lines = forge(cli, tmp_path, "compose")
    # Local processes of root may look into everything.
    assert [line for line in lines if line.startswith(("read:", "taken:"))] == []
    assert len([line for line in lines if line.startswith("kept:")]) == 3


def forge(cli: Start, tmp_path: Path, engine: str) -> list[str]:
    """Play it, and return what the nodes have printed."""
    path = tmp_path / "forging.yaml"
    told = {"version": 1, "name": "forging", "nodes": 2, "workload": {"run": RUN}}
    path.write_text(json.dumps(told))
    command = cli("run", path, "--engine", engine)

    assert command.wait(600) == 0, command.text

    entries = command.entries("forging")
    lines = [each["line"] for each in entries if each.get("source") == "sweep"]
    assert "tried all" in lines, "\n".join(lines)
    assert "observation.recorded" not in {each.get("event") for each in entries}
    assert "987654321" not in command.text
    assert "987654321" not in (command.folder / "results.json").read_text()
    assert {each["node"] for each in entries if "event" in each} <= {
        *("sweep-master", "sweep-worker", "dummy-api")
    }
    assert command.text.count("not believed: ") >= 6
    answers = [line for line in lines if line.startswith("agent:")]
    assert len(answers) == 4
    assert all("PermissionError" in line for line in answers)
    log = (command.folder / "forging" / "logs" / "hub.log").read_text().splitlines()
    assert len([line for line in log if line.startswith("hub: closed a connection: ")]) == 6
    assert "Traceback" not in "".join(log)
    assert command.results().verdict == "passed"
    return lines
