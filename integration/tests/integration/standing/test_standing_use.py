"""A standing stack in use: looked at, launched on, shelled into, with credentials; one for all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from metta_sandbox.node.agent.load import slowed

from .conftest import (
    ENDLESS,
    ENGINES,
    ENVIRON,
    SECRET,
    SHORT,
    User,
    docker,
    eventually,
    make_user,
    on_terminal,
)

MINE = ("--trainer", "python train.py")
CONTRACT = {
    "NUM_NODES", "NODE_INDEX", "MASTER_ADDR", "MASTER_PORT", "NUM_GPUS", "RANK", "LOCAL_RANK",
    "WORLD_SIZE", "DIST_URL", "SKYPILOT_NODE_RANK", "SKYPILOT_NODE_IPS", "SKYPILOT_NUM_NODES",
    "SKYPILOT_NUM_GPUS_PER_NODE", "SKYPILOT_TASK_ID", "METTA_RUN_ID", "METTA_CMD",
    "METTA_CMD_ARGS", "WANDB_MODE", "OMP_NUM_THREADS", "OBSERVATORY_URL", "COGWEB_URL",
}  # fmt: skip
PRINT_ENVIRONMENT = "python -c 'import json, os; print(json.dumps(dict(os.environ)))'; pwd; exit 7"
#: Prints what the sweep's rollout on this node was started with, and where.
PRINT_ROLLOUT = """\
python - <<'END'
import json, os, pathlib
for entry in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        environ = dict(
            pair.decode().partition("=")[::2]
            for pair in (entry / "environ").read_bytes().split(b"\\0") if pair
        )
        command = (entry / "cmdline").read_bytes().decode().rstrip("\\0").split("\\0")
        names = ("METTA_NODE", "METTA_STACK")
        same = all(environ.get(name) == os.environ.get(name) for name in names)
        if command[1:3] == ["-m", "metta_sandbox.node"] and same:
            print(json.dumps([command, environ, os.readlink(entry / "cwd")]))
    except OSError:
        pass
END
"""


def plant(home: Path) -> None:
    """Give the user credentials, each file with a mark in it."""
    tokens = home / ".metta" / "observatory_tokens.yaml"
    for path in (tokens, home / ".config" / "deep" / "x", home / ".ssh" / "id", home / ".netrc"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"password {SECRET}\n")
        path.chmod(0o600)
    urls = ("https://api.observatory.softmax-research.net", "http://dummy-api:8080")
    tokens.write_text("".join(f"{url}: {SECRET}\n" for url in urls))


@pytest.fixture(scope="module", params=ENGINES)
def user(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[User]:
    """Somebody whose stack of two nodes is up, with a working copy and credentials."""
    for user in make_user(tmp_path_factory.mktemp("use") / "user", request.param):
        plant(user.home)
        said = user.up("--nodes", "2", "--source", "work", "--credentials")
        for name in (".netrc", ".metta", ".config", ".ssh"):
            assert f"nodes see ~/{name}, read-only" in said
        assert "~/.aws" not in said
        yield user


def test_status_tells_all(user: User) -> None:
    status, parts = user.status()
    assert status == 0
    nodes = [parts["sweep-master"], parts["sweep-worker"]]
    assert [node["rank"] for node in nodes] == [0, 1]
    assert all(node["state"] == "running" and node["health"] == "healthy" for node in nodes)
    assert len({part["address"] for part in parts.values()}) == len(parts)
    assert all(part["image"] and part["age"] > 0 for part in parts.values())
    status, said = user.do("status")
    assert status == 0
    assert "sweep-worker" in said


def test_a_launch_is_followed_refused_company_shown_dry_and_ended_by_ctrl_c(user: User) -> None:
    words = ("run=long", *ENDLESS)
    process = user.launch(*words, *MINE)
    user.training(process, "long.r.1")

    status, parts = user.status()
    assert status == 0
    for rank, host in enumerate(("sweep-master", "sweep-worker")):
        assert parts[host]["running"] == ["sweep", f"trial-1 (rank {rank})"]

    status, said = user.do("launch", "sweep", "run=second", *SHORT)
    assert status == 1
    assert "the standing stack is in use by the sweep long of the run" in said
    assert (user.artifacts() / "results.json").exists()
    assert (user.artifacts() / "second" / "timeline.jsonl").exists()
    assert process.poll() is None
    assert user.status()[1]["sweep-worker"]["running"] == ["sweep", "trial-1 (rank 1)"]

    compare_with_dry_run(user, words)

    os.killpg(process.pid, signal.SIGINT)
    status, said = user.end(process)
    assert status == 130, said
    status, parts = user.status()
    assert status == 0
    assert parts["sweep-master"]["running"] == parts["sweep-worker"]["running"] == []


def compare_with_dry_run(user: User, words: tuple[str, ...]) -> None:
    """Hold what ``--dry-run`` says against what runs."""
    status, said = user.do("launch", "--dry-run", "sweep", *words)
    assert status == 0, said
    told = YAML(typ="safe").load(said)
    assert "the standing stack" in told["engine"]
    for host in ("sweep-master", "sweep-worker"):
        status, said = user.do("shell", host, stdin=PRINT_ROLLOUT)
        command, environ, folder = json.loads(said.splitlines()[-1])
        node = told["nodes"][host]
        assert node["run"].split() == command
        # The port is chosen when local processes start.
        loose = {"MASTER_PORT", "DIST_URL"} if user.engine == "process" else set()
        differ = {
            name: (value, environ.get(name))
            for name, value in node["environment"].items()
            if environ.get(name) != value and name not in loose
        }
        assert not differ
        assert node["environment"].keys() >= CONTRACT
        assert node["folder"] == folder
        if user.engine == "compose":
            mounts = json.loads(docker("inspect", f"metta-{host}"))[0]["Mounts"]
            assert node["mounts"] == {
                one["Destination"]: one["Source"] + ("" if one["RW"] else " (read-only)")
                for one in mounts
                if one["Type"] == "bind"
            }


def test_a_shell_sees_what_a_job_sees(user: User) -> None:
    status, said = user.end(user.launch("run=seen", *SHORT))
    assert status == 0, said
    forked = (user.artifacts() / "seen" / "logs" / "sweep-master.log").read_text()
    assert "started by itself" not in forked
    status, said = user.do("shell", "1", stdin=PRINT_ENVIRONMENT)
    assert status == 7, said
    environment, folder = said.splitlines()[-2:]
    environ = json.loads(environment)
    assert environ.keys() >= CONTRACT
    assert environ["RANK"] == environ["SKYPILOT_NODE_RANK"] == "1"
    assert len(environ["SKYPILOT_NODE_IPS"].split("\n")) == 2
    assert environ["METTA_RUN_ID"] == "seen", "that of the last sweep"
    assert environ["METTA_CMD_ARGS"].startswith("run=seen trainer.")
    assert folder == ("/workspace" if user.engine == "compose" else str(user.work.resolve()))
    assert environ["HOME"] != str(user.home)
    assert SECRET not in environment


def test_a_shell_on_a_terminal(user: User) -> None:
    typed = "test -t 0 && echo it is a $((40 + 2)) terminal; exit 5\n"
    status, seen = on_terminal(user, "shell", "sweep-worker", typed=typed, until=r"[$#] ")
    assert "it is a 42 terminal" in seen
    assert status == 5
    status, said = user.do("shell", "dummy-api")
    assert (status, "did you mean" in said or "there are" in said) == (2, True)


def test_nodes_see_each_other_by_name(user: User) -> None:
    if user.engine == "process":
        pytest.skip("local processes know each other by address")
    code = "import socket; print(socket.gethostbyname('sweep-worker'))"
    _, said = user.do("shell", "sweep-master", stdin=f'python -c "{code}"\n')
    assert said.split()[-1] == user.status()[1]["sweep-worker"]["address"]


def test_credentials_can_be_read_and_not_be_written(user: User) -> None:
    script = "cat ~/.netrc ~/.metta/*.yaml ~/.ssh/id ~/.config/deep/x | wc -l; ls -A ~\n"
    _, said = user.do("shell", stdin=script)
    assert said.split()[0] == "5"
    assert ".aws" not in said.split()
    script = "for f in .netrc .ssh/new .config/deep/x; do (echo no >> ~/$f); done; true\n"
    _, said = user.do("shell", stdin=script)
    if user.engine == "compose":
        assert said.count("Read-only file system") + said.count("Permission denied") == 3, said
    # Local processes have copies, which a caller who is root could write, but no one's own.
    assert (user.home / ".netrc").read_text() == f"password {SECRET}\n"
    assert not (user.home / ".ssh" / "new").exists()


def test_a_fix_is_tried_by_typing_the_command_again(user: User) -> None:
    user.trains("second word")
    process = user.launch("run=long", *SHORT, *MINE, "--source", "work", "--credentials")
    status, said = user.end(process)
    assert status == 0, said
    assert "using the standing stack: sweep-master, sweep-worker" in said
    folder = user.artifacts() / "long"
    for rank in (0, 1):
        log = (folder / "trials" / "long.r.2" / f"rank-{rank}.log").read_text()
        assert "second word []" in log
        assert "first word" not in log
    assert [path.name for path in (folder / "trials").iterdir()] == ["long.r.2"]
    for path in (folder / "logs").glob("sweep-*.log"):
        assert "first word" not in path.read_text(), "another sweep's part"
        assert "second word" in path.read_text()
    calls = [json.loads(line) for line in (folder / "api/requests.jsonl").read_text().splitlines()]
    assert calls
    assert all(call["authenticated"] for call in calls if call["path"] != "/health"), calls
    assert not any("long.r.1" in json.dumps(call) for call in calls)
    assert (folder / "compose.yaml").exists() is (user.engine == "compose")


def test_a_launch_that_is_killed_leaves_nothing_to_the_next(user: User) -> None:
    process = user.launch("run=killed", *ENDLESS)
    user.training(process, "killed.r.1")
    process.kill()
    user.end(process)
    status, said = user.end(user.launch("run=next", *SHORT, "trainer.curriculum=arena/random"))
    assert status == 0, said
    folder = user.artifacts() / "next"
    for path in [*folder.glob("logs/sweep-*.log"), folder / "timeline.jsonl"]:
        assert "killed" not in path.read_text()


def test_logs(user: User) -> None:
    status, said = user.do("logs")
    assert status == 0
    hosts = [line.split(" | ")[0].strip() for line in said.splitlines()]
    assert set(hosts) == {"sweep-master", "sweep-worker", "dummy-api"}
    assert "\x1b[" not in said
    walls = [
        json.loads(line.split(" | ", 1)[1])["wall"]
        for line in said.splitlines()
        if ' | {"event"' in line
    ]
    assert len(walls) > 10
    late = max(max(walls[:at], default=0) - wall for at, wall in enumerate(walls))
    assert late < slowed(1.0), "one order, but for what was on its way"
    one = user.do("logs", "metta-sweep-worker")[1].splitlines()
    assert {line.split(" | ")[0].strip() for line in one} == {"sweep-worker"}
    assert one == user.do("logs", "1")[1].splitlines()
    status, said = user.do("logs", "sweep-wroker")
    assert (status, "did you mean sweep-worker?" in said) == (2, True)


def test_logs_on_a_terminal_and_into_a_closed_pipe(user: User) -> None:
    _, seen = on_terminal(user, "logs", typed="", until="sweep-worker")
    assert "\x1b[" in seen
    command = f"{sys.executable} -m metta_sandbox logs -f | head -n 2"
    done = subprocess.run(
        ["bash", "-c", command],
        env=user.environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert len(done.stdout.splitlines()) == 2
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.slow
def test_logs_follow_until_ctrl_c(user: User, tmp_path: Path) -> None:
    following = tmp_path / "followed"
    with following.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "metta_sandbox", "logs", "--follow"],
            env=user.environ,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    eventually(lambda: "sweep-worker" in following.read_text(), "what was there")
    status, said = user.end(user.launch("run=followed", *SHORT))
    assert status == 0, said
    eventually(lambda: '"run": "followed.r.1"' in following.read_text(), "what comes")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) == 130
    text = following.read_text()
    assert all(" | " in line for line in text.splitlines()), "nothing but logs"
    whole = user.do("logs")[1]
    assert sorted(text.splitlines()) == sorted(whole.splitlines()), "each line once"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--nodes", "3"), "it has 2 nodes, not 3"),
        (("--source", "code"), "its source is"),
        (("+hardware=gpu",), "it is for +hardware=macbook"),
    ],
)
def test_what_does_not_fit_gets_a_stack_of_its_own(
    user: User, words: tuple[str, ...], reason: str
) -> None:
    (user.folder / "code").mkdir(exist_ok=True)
    status, said = user.do("launch", "--dry-run", "sweep", "run=other", *words)
    assert status == 0
    assert f"! not using the standing stack: {reason}" in said
    assert "a stack of its own" in said


def test_secrets_are_nowhere(user: User) -> None:
    """Look for the marks wherever something was written. Comes last, when all has been done."""
    assert not any(SECRET in said for said in user.said)
    found = [
        str(path)
        for folder in (user.folder / "artifacts", user.state)
        for path in folder.rglob("*")
        if path.is_file() and SECRET.encode() in path.read_bytes()
    ]
    assert not found
    if user.engine == "compose":
        look_into_containers()
    stages = user.stages()
    if os.geteuid() == 0 or user.engine == "process":
        assert len(stages) == 1
        for path in stages[0].parent, *stages[0].iterdir():
            assert path.stat().st_mode & 0o077 == 0 or path == stages[0].parent
    assert user.do("stop")[0] == 0
    assert not user.left()


def look_into_containers() -> None:
    names = docker("ps", "-aq", "--filter", "label=com.docker.compose.project=metta").split()
    assert len(names) == 4
    assert SECRET not in docker("inspect", *names)
    for name in names:
        assert SECRET not in docker("logs", name)
    image = docker("inspect", "-f", "{{.Config.Image}}", names[0]).strip()
    assert SECRET not in docker("history", "--no-trunc", image)
    assert not in_layers(image)


def in_layers(image: str) -> list[str]:
    """Name the layers of an image that bear the mark."""
    found: list[str] = []
    with (
        subprocess.Popen(["docker", "save", image], env=ENVIRON, stdout=subprocess.PIPE) as saving,
        tarfile.open(fileobj=saving.stdout, mode="r|") as layers,
    ):
        for layer in layers:
            content: Any = layers.extractfile(layer)
            tail = b""
            while content and (data := content.read(1 << 20)):
                if SECRET.encode() in tail + data:
                    found.append(layer.name)
                tail = data[-len(SECRET) :]
    return found
