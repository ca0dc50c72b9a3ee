"""Containers that several scenarios of a run take turns in: what one leaves, the next looks for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from python_on_whales import DockerClient

if TYPE_CHECKING:
    from tests.integration.play.conftest import Command, Start

ENGINE = ("--engine", "compose", "--jobs", "1")

pytestmark = pytest.mark.timeout(3600)

#: Leaves something wherever it can, on every node, and in the control plane.
LITTER = r"""
import os, pathlib, socket, subprocess, sys, tempfile, time, urllib.request
home = pathlib.Path.home()
for place in (home, "/tmp", "/var/tmp", "/dev/shm", "/run/lock", ".", home / ".cache/deep"):
    place = pathlib.Path(place)
    place.mkdir(parents=True, exist_ok=True)
    (place / "planted").write_text("planted")
locked = pathlib.Path("/tmp/planted-locked")
(locked / "inner").mkdir(parents=True)
(locked / "inner").chmod(0)
locked.chmod(0)
os.symlink("/etc", "/tmp/planted-link")
os.environ["PLANTED"] = "planted"
BORN = '''
import os, signal, socket, sys, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
taken = [socket.socket() for _ in range(2)]
for one, port in zip(taken, (4711, 40711)):
    one.bind(("", port))
    one.listen()
hidden = socket.socket(socket.AF_UNIX)
hidden.bind(chr(0) + "planted")
open("/tmp/planted-is-up", "w").close()
time.sleep(600)
'''
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.execve(sys.executable, [sys.executable, "-S", "-c", BORN], {"NAME": "planted"})
    os._exit(0)
while not os.path.exists("/tmp/planted-is-up"):
    time.sleep(0.02)
if os.environ["NODE_INDEX"] == "0":
    url = os.environ["OBSERVATORY_URL"] + "/sweeps/planted"
    body = b'{"project": "p", "entity": "e", "wandb_sweep_id": "planted"}'
    for route in ("/create_sweep", "/runs/next", "/runs/next"):
        said = {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(url + route, body, said))
"""

#: Tells all that it sees.
LOOK = r"""
import json, os, pathlib, socket, sys, urllib.request

def read(path):
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""

places = [pathlib.Path.home(), *map(pathlib.Path, ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue",
          "/run/lock", os.environ["METTA_RUN_FOLDER"]))]
processes = [each for each in pathlib.Path("/proc").iterdir() if each.name.isdigit()]
url = os.environ["OBSERVATORY_URL"] + "/sweeps/planted"
ports = []
for port in (4711, 40711, 8009):
    with socket.socket() as one:
        one.bind(("", port))
        ports.append(port)
seen = {
    "files": sorted(f"{path} {path.lstat().st_mode:o} {path.lstat().st_uid}"
                    for place in places for path in (place, *place.rglob("*"))
                    # What the other node writes comes when it comes.
                    if not path.name.startswith("seen-")),
    "processes": sorted({read(each / "cmdline").strip() for each in processes}),
    "environments": [read(each / "environ") for each in processes],
    "own": {name: value for name, value in os.environ.items()},
    "sockets": sorted({word for word in read(pathlib.Path("/proc/net/unix")).split()
                       if word[:1] == "@"}),
    "ports": ports,
    "limits": read(pathlib.Path("/proc/self/limits")),
    "cwd": os.getcwd(),
    "sweep": json.load(urllib.request.urlopen(url)),
}
pathlib.Path(f"seen-{os.environ['NODE_INDEX']}.json").write_text(json.dumps(seen))
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def write(folder: Path, name: str, program: str, **keys: Any) -> None:
    place = folder / f"of-{name}"
    place.mkdir(exist_ok=True)
    (place / "program.py").write_text(program)
    workload = {"folder": place.name, "run": "python program.py", **keys.pop("workload", {})}
    # They talk to the control plane, and lead no sweep.
    expect = [{"progress": False}]
    said = {"version": 1, "name": name, "nodes": 2, "workload": workload, "expect": expect, **keys}
    (folder / f"{name}.yaml").write_text(json.dumps(said))


def seen(command: Command, name: str, node: int) -> dict[str, Any]:
    path = command.folder / name / "shared" / "workspace" / f"seen-{node}.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _named(command: str) -> str:
    """Leave out the folder of a program, and the hub's address, which each stack has its own of."""
    program, _, words = command.partition(" ")
    return f"{Path(program).name} {re.sub(r'[0-9.]+:7077', 'hub', words)}"


def verdicts(command: Command) -> list[tuple[str, str]]:
    return [(each.name, each.verdict.value) for each in command.results().scenarios]


def _without_lives(files: list[str]) -> list[str]:
    """Leave out what processes tell of themselves: another node's may be there yet, or not."""
    return sorted(file for file in files if "/.lives/" not in file)


def test_nothing_that_a_scenario_leaves_on_nodes_is_there_for_the_next(
    cli: Start, files: Path, docker: DockerClient
) -> None:
    # Two stacks take turns, so that the third finds the first's nodes, and the fourth the second's.
    for name in ("a-litters", "b-litters"):
        write(files, name, LITTER)
    for name in ("c-looks", "d-looks"):
        write(files, name, LOOK)
    again = cli("run", files, *ENGINE)
    assert again.wait(400) == 0, again.text
    assert verdicts(again) == [
        (f"{each}", "passed") for each in ("a-litters", "b-litters", "c-looks", "d-looks")
    ]
    for name in ("c-looks", "d-looks"):
        assert re.search(rf"{name}: using the nodes of [ab]-litters again", again.text), again.text
    assert "used no more" not in again.text

    for path in files.glob("?-litters.yaml"):
        path.unlink()
    fresh = cli("run", files, "--fresh", *ENGINE)
    assert fresh.wait(400) == 0, fresh.text
    assert "again" not in fresh.text

    for name in ("c-looks", "d-looks"):
        for node in (0, 1):
            found, other = seen(again, name, node), seen(fresh, name, node)
            assert "planted" not in json.dumps({**found, "sweep": {}})
            assert "litters" not in json.dumps(found)
            assert found["sweep"] == {"exists": False, "wandb_sweep_id": ""}
            for what in ("ports", "limits", "cwd", "sweep"):
                assert found[what] == other[what], what
            assert _without_lives(found["files"]) == _without_lives(other["files"])
            # Beside its agent, a container's init is there, and what that is asked through.
            assert {
                _named(each) for each in found["processes"] if "container-init" not in each
            } == {_named(each) for each in other["processes"]}
            assert {*found["sockets"]} - {"@metta-container-init"} == {*other["sockets"]}
            ours = ("SKYPILOT_TASK_ID", "SKYPILOT_NODE_IPS")
            assert {key: value for key, value in found["own"].items() if key not in ours} == {
                key: value for key, value in other["own"].items() if key not in ours
            }
            assert found["own"]["SKYPILOT_TASK_ID"] == f"{again.run}-{name}"
        kept = {path.name for path in (again.folder / name).rglob("*")}
        assert kept == {path.name for path in (fresh.folder / name).rglob("*")}
        for log in ("hub", "dummy-api", "sweep-master", "sweep-worker"):
            told = (again.folder / name / "logs" / f"{log}.log").read_text()
            assert "turn " not in told
            assert told.count("api.ready") == (log == "dummy-api")
    assert [path.name for path in again.folder.glob(".*")] == []
    assert again.left(docker) == []
    assert fresh.left(docker) == []


def test_nodes_that_were_not_left_in_order_are_used_no_more(
    cli: Start, files: Path, docker: DockerClient
) -> None:
    write(files, "a-changes", "", workload={"run": "echo >> ~/.profile"})
    write(files, "b-fails", "", workload={"run": "exit 3"})
    write(files, "c-setup", "", workload={"run": "true", "setup": "true"})
    write(files, "d-looks", LOOK)

    command = cli("run", files, *ENGINE)

    assert command.wait(400) == 1, command.text
    assert [verdict for _, verdict in verdicts(command)] == ["passed", "failed", "passed", "passed"]
    assert re.search(
        r"a-changes: its nodes are used no more: \S+: /home/metta/.profile", command.text
    )
    assert "c-setup: its nodes are its own: it runs a setup" in command.text
    assert " again" not in command.text
    assert command.left(docker) == []


def test_ctrl_c_ends_turns_with_their_evidence_and_removes_all_that_is_kept(
    cli: Start, files: Path, docker: DockerClient
) -> None:
    write(files, "a-first", "print('a-first works')")
    write(files, "b-second", "import time; print('b-second works', flush=True); time.sleep(600)")
    write(files, "c-third", "print('c-third works')")

    command = cli("run", files, *ENGINE)
    command.says("c-third: ready: ", patience=400)
    timeline = command.folder / "b-second" / "timeline.jsonl"
    command.eventually(lambda: "b-second works" in timeline.read_text(), "b-second at work")
    command.interrupt()

    assert command.wait(400) == 130, command.text
    assert "Traceback" not in command.text
    assert "c-third: using the nodes of a-first again" in command.text
    assert [each.reason for each in command.results().scenarios] == ["", *["interrupted"] * 2]
    for name, said in (("a-first", True), ("b-second", True), ("c-third", False)):
        folder = command.folder / name
        log = (folder / "logs" / "sweep-master.log").read_text()
        assert [f"{each} works" in log for each in ("a-first", "b-second", "c-third")] == [
            said and each == name for each in ("a-first", "b-second", "c-third")
        ]
        assert not (folder / "shared").is_symlink()
        assert (folder / "shared" / "workspace" / "program.py").exists()
    assert command.left(docker) == []


@pytest.mark.slow  # leftovers kill such runs, too
def test_of_a_run_that_is_killed_the_next_run_removes_all_that_was_kept(
    cli: Start, files: Path, docker: DockerClient
) -> None:
    write(files, "a-first", "print('a-first works')")
    write(files, "b-second", "import time; print('b-second works', flush=True); time.sleep(600)")
    write(files, "c-third", "print('c-third works')")

    command = cli("run", files, "--jobs", "1", *ENGINE)
    command.says("c-third: ready: ", patience=400)
    timeline = command.folder / "b-second" / "timeline.jsonl"
    command.eventually(lambda: "b-second works" in timeline.read_text(), "b-second at work")
    command.process.kill()
    command.process.wait()
    assert command.left(docker) != []

    for name in ("b-second", "c-third"):
        (files / f"{name}.yaml").unlink()
    after = cli("run", files, *ENGINE)

    assert after.wait(400) == 0, after.text
    assert command.left(docker) == []
    assert "b-second works" in timeline.read_text()


def what_counts(command: Command, name: str) -> tuple[Any, ...]:
    """Pick of a scenario what must not depend on whose nodes it was on before."""
    folder = command.folder / name
    losses: dict[str, list[float]] = {}
    warm = []
    for event in map(json.loads, (folder / "timeline.jsonl").read_text().splitlines()):
        if event.get("event") == "train.step":
            losses.setdefault(f"{event['run']} {event['rank']}", []).append(event["loss"])
        warm += [event["line"]] if "warm: " in event.get("line", "") else []
    digests = {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.glob("trials/*/rank-*.digest"))
    }
    assert losses
    assert digests
    (played,) = (one for one in command.results().scenarios if one.name == name)
    trials = [(each.run, each.status, each.score, each.overrides) for each in played.trials]
    checks = [(each.name, each.verdict) for each in played.checks]
    return played.verdict, trials, checks, losses, digests, warm


@pytest.mark.slow
def test_training_comes_to_the_same_on_nodes_that_are_used_again(
    cli: Start, files: Path, docker: DockerClient
) -> None:
    names = ("a-trains", "b-trains", "c-trains", "d-trains")
    parameters = {
        "trainer.optimizer.learning_rate": {
            "distribution": "log_normal",
            "min": 1e-4,
            "max": 1e-2,
            "mean": 3e-3,
        }
    }
    trainer = {"total_timesteps": 256, "batch_size": 128, "minibatch_size": 64, "update_epochs": 1}
    for seed, name in enumerate(names):
        said = {
            "version": 1,
            "name": name,
            "seed": seed,
            # Whatever the machine is busy with besides.
            "deadline": "30m",
            "longest_silence": "20m",
            "sweep": {"trials": 2, "parameters": parameters},
            "workload": {"trainer": {"overrides": {"trainer": {"bptt_horizon": 4, **trainer}}}},
        }
        (files / f"{name}.yaml").write_text(json.dumps(said))

    again = cli("run", files, *ENGINE)
    assert again.wait(1500) == 0, again.text
    fresh = cli("run", files, "--fresh", *ENGINE)
    assert fresh.wait(1500) == 0, fresh.text

    assert again.text.count(" again") == 2, again.text
    for name in names:
        assert what_counts(again, name) == what_counts(fresh, name), name
    assert again.left(docker) == []
