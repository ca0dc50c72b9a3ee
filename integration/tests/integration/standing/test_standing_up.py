"""``up`` and ``stop``, from every state they may find."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from functools import partial
from pathlib import Path

import pytest

from metta_sandbox.stack.marks import variables

from .conftest import User, containers, docker, eventually

#: Seconds that `up` has worked when it is cut off.
MOMENTS = [0.1, 0.7, 1.3]


def test_up_twice_stop_twice(user: User) -> None:
    first = user.up("--nodes", "1")
    assert "warm after" in first
    assert "the standing stack is up" in first
    again = user.up("--nodes", "1")
    assert "a standing stack is up already" in again
    assert "sweep-master" in again
    status, said = user.do("stop")
    assert (status, "the standing stack is gone" in said) == (0, True)
    assert not user.left()
    status, said = user.do("stop")
    assert (status, "no standing stack is up" in said) == (0, True)
    assert user.do("status")[0] == 1
    for words in (["logs"], ["shell"]):
        status, said = user.do(*words)
        assert (status, "no standing stack is up" in said) == (2, True)


def test_two_at_once_make_one(user: User) -> None:
    both = [user.start("up", "--engine", user.engine, "--nodes", "1") for _ in range(2)]
    ends = [user.end(process) for process in both]
    assert [status for status, _ in ends] == [0, 0], ends
    said = [text for _, text in ends]
    assert sum("the standing stack is up\n" in text for text in said) == 1, said
    assert sum("a standing stack is up already" in text for text in said) == 1, said
    assert user.status()[0] == 0


def test_a_record_that_is_lost_or_written_in_half_is_no_hindrance(user: User) -> None:
    user.up("--nodes", "1")
    (user.stack / "stack.json").write_text('{"engine": "com')
    assert user.do("status")[0] == 1
    assert "the standing stack is up\n" in user.up("--nodes", "1")
    (user.stack / "stack.json").unlink()
    assert "the standing stack is up\n" in user.up("--nodes", "1")
    assert user.status()[0] == 0
    (user.stack / "stack.json").unlink()
    assert user.do("stop")[0] == 0
    assert not user.left()


def test_what_was_killed_is_ill_and_up_starts_it_anew(user: User) -> None:
    user.up("--nodes", "2")
    if user.engine == "compose":
        docker("kill", "metta-sweep-worker")
    else:
        kill_agent(user, "sweep-worker", signal.SIGKILL)
    name = "metta-sweep-worker" if user.engine == "compose" else "sweep-worker"

    def ill() -> bool:
        state: str = user.status()[1]["sweep-worker"]["state"]
        return state == "exited"

    eventually(ill, "it is seen")
    status, said = user.do("launch", "sweep", "run=test")
    assert status == 1
    assert f"the standing stack is not well: {name} is exited" in said
    assert "the standing stack is not well: starting it anew" in user.up()
    assert user.status()[0] == 0


@pytest.mark.parametrize("who", ["sweep-master", "hub"])
def test_who_is_silent_is_ill_within_a_bound(user: User, who: str) -> None:
    user.up("--nodes", "1")
    if user.engine == "compose":
        docker("pause", f"metta-{who}")
    else:
        kill_agent(user, who, signal.SIGSTOP)
    status, parts = user.status()
    assert status == 1
    part = parts[who]
    assert part["state"] == "paused" or part["health"] == "silent"
    assert user.do("stop")[0] == 0
    assert not user.left()


def test_ctrl_c_leaves_nothing(user: User) -> None:
    for moment in MOMENTS:
        process = user.start("up", "--engine", user.engine, "--nodes", "2")
        # An interpreter that has not come to any program of ours yet ends as Python does.
        eventually(partial(_hears, process.pid), "it hears what ends it")
        threading.Event().wait(moment)
        # As a terminal does: to whoever is in the foreground.
        os.killpg(process.pid, signal.SIGINT)
        status, said = user.end(process)
        assert "Traceback" not in said
        assert status in {0, 130}, said
        if "the standing stack is up" in said:
            user.do("stop")
        else:
            assert status == 130, said
        assert not user.left(), (moment, said)


def _hears(pid: int) -> bool:
    """Tell whether a process has a handler for SIGTERM, as none has before our program's first."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(line.split()[1] for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def test_up_that_was_killed_is_no_hindrance(user: User) -> None:
    for moment in MOMENTS:
        process = user.start("up", "--engine", user.engine, "--nodes", "2")
        threading.Event().wait(moment)
        process.kill()
        user.end(process)
        said = user.up("--nodes", "1")
        status, parts = user.status()
        assert status == 0, said
        assert ("sweep-worker" in parts) is ("is up already" in said), said
        assert user.do("stop")[0] == 0
        assert not user.left(), moment


def test_clean_and_runs_leave_it_alone(user: User) -> None:
    user.up("--nodes", "1")
    before = user.status()[1]["sweep-master"]["age"]
    assert user.do("clean")[0] == 0
    assert user.do("run", "--engine", user.engine, "nothing.yaml")[0] == 2
    scenario = user.folder / "broken.yaml"
    scenario.write_text("version: 1\nname: broken\nnodes: 1\nworkload: {setup: 'exit 3'}\n")
    status, said = user.do("run", "--engine", user.engine, str(scenario))
    assert (status, "setup on sweep-master exited with status 3" in said) == (1, True), said
    status, parts = user.status()
    assert status == 0
    assert parts["sweep-master"]["age"] > before, "it is still the same"


@pytest.mark.docker
def test_containers_that_are_gone_and_guests_in_its_network(
    user: User, request: pytest.FixtureRequest
) -> None:
    if user.engine != "compose":
        pytest.skip("containers only")
    user.up("--nodes", "1")
    image = docker("inspect", "-f", "{{.Config.Image}}", "metta-hub").strip()
    docker("rm", "-f", "metta-hub")
    guest = docker(
        "run", "-d", "--network", "metta_stack", "--entrypoint", "sleep", image, "600"
    ).strip()
    request.addfinalizer(lambda: docker("rm", "-f", guest))
    assert user.status()[1]["hub"]["state"] == "missing"
    user.up("--nodes", "1")
    assert user.status()[0] == 0
    docker("network", "connect", "metta_stack", guest)
    docker("rm", "-f", "metta-sweep-master")
    assert user.do("stop")[0] == 0
    assert not user.left()
    assert docker("inspect", "-f", "{{.State.Running}}", guest).strip() == "true"


@pytest.mark.docker
def test_somebody_elses_is_left_alone(user: User) -> None:
    if user.engine != "compose":
        pytest.skip("containers only")
    user.up("--nodes", "1")
    other = User(user.folder / "other", "compose")
    status, said = other.do("up")
    assert status == 1
    assert "another user's standing stack is on this engine: metta-dummy-api" in said
    assert other.do("stop")[0] == 0
    assert "metta-sweep-master" in containers()
    assert user.status()[0] == 0


def test_ordinary_docker_habits(user: User) -> None:
    if user.engine != "compose":
        pytest.skip("containers only")
    user.up()
    assert {"metta-sweep-master", "metta-sweep-worker", "metta-dummy-api"} <= set(containers())
    assert docker("exec", "metta-sweep-worker", "bash", "-c", "echo $RANK $(hostname)").split() == [
        "1",
        "sweep-worker",
    ]
    assert docker("exec", "metta-sweep-worker", "getent", "hosts", "sweep-master").split()[1]
    docker("logs", "metta-sweep-master")


def kill_agent(user: User, host: str, number: int) -> None:
    """Send a signal to a local process's agent, or to the hub beside the agents."""
    if host == "hub":
        beside = Path(_environ(user, "sweep-master")["HOME"]).parent
        listed = subprocess.run(
            ["pgrep", "-f", f"hub .*--listen=unix:{beside}/"],
            capture_output=True,
            text=True,
            check=True,
        )
        os.kill(int(listed.stdout), number)
    else:
        os.kill(int(_environ(user, host)["pid"]), number)


def _environ(user: User, host: str) -> dict[str, str]:
    """Find a node's agent, and return its variables and its ``pid``."""
    listed = subprocess.run(
        ["pgrep", "-f", f"agent .*--node={host} .*"], capture_output=True, text=True, check=True
    )
    for pid in listed.stdout.split():
        try:
            told = [each.decode() for each in variables(Path("/proc", pid))]
            environ = dict(each.partition("=")[::2] for each in told)
            whole = (Path(environ["HOME"]).parent / f"{host}.json").read_text()
        except OSError:
            continue
        if os.fspath(user.state) in whole:
            return {**environ, "pid": pid}
    raise AssertionError(f"no agent of {host}")
