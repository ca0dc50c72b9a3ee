"""What a scenario leaves in every place that it can reach, and the next of the run looks for."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.play.conftest import Command, Start

ENGINE = ("--engine", "process")

#: A trainer of one rank that plants, in its own process, in others and on disk.
PLANT = """
import builtins, os, pathlib, signal, subprocess, sys, tempfile, time, torch
builtins.planted = torch.planted = os.environ["PLANTED"] = "planted"
for place in (pathlib.Path.home(), pathlib.Path(tempfile.gettempdir()), pathlib.Path.cwd(),
              pathlib.Path(os.environ["METTA_RUN_FOLDER"])):
    (place / "planted").write_text("planted")
os.chdir("/")

def stray(work):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for stream in (0, 1, 2):
                os.close(stream)
            work()
        os._exit(0)

# One bears all the marks that a fork has; one has no environment at all.
stray(lambda: time.sleep(600))
stray(lambda: os.execve("/bin/sleep", ["planted-sleep", "600"], {}))
time.sleep(0.3)
print("score: 1", flush=True)
"""

#: One that tells all that it sees.
LOOK = """
import builtins, json, os, pathlib, sys, tempfile, torch, torch._dynamo, multiprocessing.process
import site
home = pathlib.Path.home()
seen = {
    "builtins": hasattr(builtins, "planted"),
    "torch": hasattr(torch, "planted"),
    "environ": os.environ.get("PLANTED", ""),
    "files": [str(path) for place in (home, pathlib.Path(os.environ["METTA_RUN_FOLDER"]))
              for path in place.rglob("planted*")],
    "home": str(home),
    "temp": tempfile.gettempdir(),
    "cwd": os.getcwd(),
    "kept": [torch._dynamo.config.debug_dir_root, multiprocessing.process.ORIGINAL_DIR,
             site.getuserbase()],
    "mark": os.environ["METTA_STACK"],
    "shown": open("/proc/self/environ").read().split(chr(0)),
    "executable": os.path.basename(sys.executable),
    "parent": open(f"/proc/{os.getppid()}/environ").read().split(chr(0)),
    "hash": hash("a text"),
}
print("SEEN " + json.dumps(seen), flush=True)
print("score: 1", flush=True)
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, program in (("a-plants", PLANT), ("b-looks", LOOK)):
        (folder / name).mkdir()
        (folder / name / "train.py").write_text(program)
        workload = {
            "folder": name,
            "trainer": {
                "command": "python train.py",
                "launcher": "warm",
                "score": {"source": "log", "pattern": r"score: (\d+)"},
            },
        }
        said: dict[str, Any] = {
            "version": 1,
            "name": name,
            "nodes": 2,
            "sweep": {"trials": 1},
            "workload": workload,
        }
        (folder / f"{name}.yaml").write_text(json.dumps(said))
    return folder


def seen(command: Command, name: str, rank: int = 0) -> dict[str, Any]:
    log = command.folder / name / "trials" / f"{name}.r.1" / f"rank-{rank}.log"
    match = re.search(r"SEEN (.*)", log.read_text())
    assert match, log.read_text()
    found: dict[str, Any] = json.loads(match[1])
    return found


def started_by_itself(command: Command, name: str) -> bool:
    logs = (command.folder / name / "logs").glob("sweep-*.log")
    return any("warm: started by itself" in each.read_text() for each in logs)


def test_nothing_of_a_scenario_is_there_for_the_next(cli: Start, files: Path) -> None:
    command = cli("run", files, "--jobs", "1", *ENGINE)
    command.says("b-looks: trial 1")
    assert strays(command) == []
    assert command.wait(200) == 0, command.text
    # All were forked from what the run shares.
    assert not any(started_by_itself(command, name) for name in ("a-plants", "b-looks"))
    for rank in (0, 1):
        found = seen(command, "b-looks", rank)
        assert (found["builtins"], found["torch"], found["environ"]) == (False, False, "")
        assert found["files"] == []
        # It has places of its own, also where imports keep them, and none of the template's.
        assert found["temp"] == f"{found['home']}/tmp"
        assert all(each.startswith(found["home"]) for each in found["kept"]), found["kept"]
        assert "template-" not in json.dumps(found)
        # Whoever looks for its processes finds them by its own mark, and by no other.
        assert found["mark"] == f"{command.run}/b-looks"
        for shown in (found["shown"], found["parent"]):
            assert f"METTA_STACK={command.run}/b-looks" in shown
            assert sum(each.startswith("METTA_STACK=") for each in shown) == 1
        assert found["executable"] == "python"
    # Two nodes never draw the same at an interpreter's start.
    one, other = (seen(command, "b-looks", rank) for rank in (0, 1))
    assert one["hash"] != other["hash"]
    assert one["home"] != other["home"]
    assert command.left() == []


#: What is the stack's own may still be ending while the next scenario is at work.
OF_THE_STACK = re.compile(rb"\.pyz\0(agent|hub)\0|\0metta_sandbox\.services\0")


def strays(command: Command) -> list[str]:
    """List what is left of the first scenario's programs, by its marks and by its name."""
    return [
        entry.name
        for entry in Path("/proc").glob("[0-9]*")
        if b"planted-sleep" in _cmdline(entry) or f"{command.run}/a-plants" in _environ(entry)
        if not OF_THE_STACK.search(_cmdline(entry))
    ]


def _cmdline(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def _environ(entry: Path) -> str:
    try:
        return (entry / "environ").read_text(errors="replace")
    except OSError:
        return ""


def test_what_a_killed_run_shared_ends_with_it_and_goes_with_the_next(
    cli: Start, files: Path, tmp_path: Path
) -> None:
    (files / "a-plants" / "train.py").write_text("import time; time.sleep(600)")
    killed = cli("run", files, "--jobs", "1", *ENGINE)
    killed.eventually(
        lambda: killed.nodes("sweep-master", "template"), "a server forked from a template"
    )
    assert len([each for each in of_run(killed) if "/templates" in _environ(each)]) >= 2

    killed.interrupt(signal.SIGKILL)
    killed.wait()

    killed.eventually(lambda: not of_run(killed), "the end of all of its processes")
    assert list(Path("/tmp").glob(f"metta-*/{killed.run}/template-0"))
    short = tmp_path / "short.yaml"
    short.write_text('{"version": 1, "name": "short", "nodes": 1, "workload": {"run": "true"}}')
    following = cli("run", short, *ENGINE)
    assert following.wait(200) == 0, following.text
    assert (killed.left(), following.left()) == ([], [])


def of_run(command: Command) -> list[Path]:
    """List the processes of a run's stacks, and of what they share."""
    mark = f"METTA_STACK={command.run}/"
    return [entry for entry in Path("/proc").glob("[0-9]*") if mark in _environ(entry)]
