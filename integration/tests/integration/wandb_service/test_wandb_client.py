"""W&B's own client, unmodified, in processes of its own, against the stand-in."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn

from metta_sandbox.api.server import listen
from metta_sandbox.services.wandb.app import create_app
from metta_sandbox.services.wandb.records import Records
from metta_sandbox.services.wandb.script import Scripted
from metta_sandbox.services.wandb.server import address_of, server

KEY = "k" * 40
#: Seconds that a client gets, on a busy machine.
PATIENCE = 120


@dataclass(frozen=True)
class StandIn:
    """A server, and clients of it.

    Args:
        url: Its address.
        data: Its data folder.
        home: Where clients live.

    """

    url: str
    data: Path
    home: Path

    def start(self, program: str, *words: str, node: str = "") -> subprocess.Popen[str]:
        """Start a program that uses the client."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
        env = {**kept, "WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "HOME": str(self.home)}
        env |= {"WANDB_CONSOLE": "wrap", "WANDB_SILENT": "true"}
        if node:
            env["WANDB__EXTRA_HTTP_HEADERS"] = f'{{"X-Metta-Node": "{node}"}}'
        return subprocess.Popen(
            [sys.executable, "-c", program, *words],
            env=env,
            cwd=self.home,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def use(self, program: str, *words: str, node: str = "", status: int = 0) -> str:
        """Let a program that uses the client end; give what it printed."""
        process = self.start(program, *words, node=node)
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == status, output
        return output

    def records(self) -> Records:
        """Read the store."""
        return Records(self.data)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[..., StandIn]]:
    """Start servers on ports of their own."""
    started: list[tuple[uvicorn.Server, threading.Thread]] = []
    sockets = []

    def serve(**options: Any) -> StandIn:
        data, home = tmp_path / f"data{len(started)}", tmp_path / f"home{len(started)}"
        home.mkdir()
        listener = listen("127.0.0.1", 0)
        sockets.append(listener)
        stand_in = server(create_app(data, **options))
        thread = threading.Thread(target=stand_in.run, kwargs={"sockets": [listener]})
        thread.start()
        started.append((stand_in, thread))
        return StandIn(address_of(listener), data, home)

    yield serve
    for stand_in, thread in started:
        stand_in.should_exit = True
        thread.join(30)
    for listener in sockets:
        listener.close()


LOG = """
import sys, wandb
with wandb.init(project="p", id="r1", config={"lr": 0.1}, tags=["a"], group="g") as run:
    for step in range(20):
        run.log({"loss": 20 - step})
    print("said by the trainer")
"""


def test_a_run_is_logged_resumed_and_read(serving: Callable[..., StandIn]) -> None:
    stand_in = serving()
    stand_in.use(LOG, node="sweep-master")
    program = """
import pathlib, wandb
pathlib.Path("f.txt").write_text("kept")
with wandb.init(project="p", id="r1", resume="must") as run:
    assert run.starting_step == 20, run.starting_step
    run.log({"loss": 0})
    run.save("f.txt")
    made = wandb.Artifact("data", type="dataset")
    made.add_file("f.txt")
    run.log_artifact(made, aliases=["best"]).wait()
for mode, name in (("never", "r1"), ("must", "none")):
    try:
        wandb.init(project="p", id=name, resume=mode)
        raise SystemExit("resumed")
    except wandb.errors.UsageError:
        pass
api = wandb.Api()
run = api.run("sandbox/p/r1")
assert [row["loss"] for row in run.scan_history(keys=["loss"])] == [*range(20, 0, -1), 0]
assert len(run.history(pandas=False)) == 21
assert run.summary["loss"] == 0 and run.config["lr"] == 0.1 and run.state == "finished"
folder = api.artifact("sandbox/p/data:best").download("dl")
assert pathlib.Path(folder, "f.txt").read_text() == "kept"
assert run.file("f.txt").download(root="again").read() == "kept"
run.config["new"] = 1
run.update()
runs = api.runs("sandbox/p", filters={"config.new": 1}, order="-summary_metrics.loss")
assert [each.id for each in runs] == ["r1"]
run.delete()
assert len(wandb.Api().runs("sandbox/p")) == 0
"""
    stand_in.use(program, node="sweep-worker")
    with closing(stand_in.records()) as records:
        (run,) = records.runs()
        assert (run.state, run.group, run.deleted) == ("finished", "g", True)
        assert any("said by the trainer" in line for line in records.output(run))
        assert {write.node for write in records.writes(run)} == {"sweep-master", "sweep-worker"}
        assert records.contested(run) == []
        assert records.unknown() == []


def test_a_run_survives_answers_that_fail(serving: Callable[..., StandIn]) -> None:
    stand_in = serving(
        script=[
            Scripted("UpsertBucket", last=1, status=503),
            Scripted("file_stream", first=1, last=1, status=429, retry_after=1),
            Scripted("file_stream", first=2, last=2, drop=True),
            Scripted("CreateRunFiles", last=1, broken_json=True),
        ]
    )
    stand_in.use(LOG)
    with closing(stand_in.records()) as records:
        (run,) = records.runs()
        assert [row["loss"] for row in records.history(run)] == [*range(20, 0, -1)]
        assert run.state == "finished"


def test_a_program_that_fails_and_one_that_is_killed(serving: Callable[..., StandIn]) -> None:
    stand_in = serving()
    stand_in.use("import sys, wandb; wandb.init(project='p', id='r1'); sys.exit(3)", status=3)
    killed = stand_in.start(
        "import time, wandb\nr = wandb.init(project='p', id='r2')\nr.log({'a': 1})\n"
        "print('up', flush=True)\ntime.sleep(100)"
    )
    assert killed.stdout is not None
    while "up" not in (line := killed.stdout.readline()):
        assert line
    killed.kill()
    killed.communicate(timeout=PATIENCE)
    with closing(stand_in.records()) as records:
        states = {run.name: (run.state, run.exit_code) for run in records.runs()}
    assert states["r1"] == ("failed", 3)
    assert states["r2"][0] != "finished"


SWEEP = """
import wandb
print("sweep", wandb.sweep({"method": "grid", "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"values": [1, 2, 3]}}}, project="p"))
"""
AGENT = """
import sys, wandb
def train():
    with wandb.init() as run:
        run.log({"loss": run.config.x})
wandb.agent(sys.argv[1], train, project="p", entity="sandbox")
"""


def test_agents_on_two_nodes_share_a_sweep(serving: Callable[..., StandIn]) -> None:
    stand_in = serving()
    found = re.search(r"^sweep (\w+)$", stand_in.use(SWEEP), re.MULTILINE)
    assert found is not None
    nodes = ("sweep-master", "sweep-worker")
    agents = [stand_in.start(AGENT, found[1], node=node) for node in nodes]
    for agent in agents:
        output, _ = agent.communicate(timeout=PATIENCE)
        assert agent.returncode == 0, output
    with closing(stand_in.records()) as records:
        runs = records.runs(found[1])
        assert sorted(run.config["x"] for run in runs) == [1, 2, 3]
        assert sorted(run.summary["loss"] for run in runs) == [1, 2, 3]
        assert {run.state for run in runs} == {"finished"}
        assert records.sweeps() == {found[1]: "FINISHED"}
    best = f"""
import wandb
sweep = wandb.Api().sweep("sandbox/p/{found[1]}")
assert sweep.best_run().config["x"] == 1, sweep.best_run().config
"""
    stand_in.use(best)


def test_a_client_without_the_key_is_told_at_once(serving: Callable[..., StandIn]) -> None:
    stand_in = serving(key="s" * 40)
    assert "the API key is not known here" in stand_in.use(LOG, status=1)
    with closing(stand_in.records()) as records:
        assert records.runs() == []


def test_what_the_stand_in_lacks_ends_at_once(serving: Callable[..., StandIn]) -> None:
    stand_in = serving()
    stand_in.use(
        """
import wandb
try:
    wandb.Api().create_team("t")
except Exception as error:
    print(error)
else:
    raise SystemExit("made")
"""
    )
    with closing(stand_in.records()) as records:
        assert any("createTeam" in each for each in records.unknown())


def test_the_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "metta_sandbox", "wandb", "serve", "--port", "0"]
    process = subprocess.Popen(
        [*words, "--data", str(tmp_path / "data")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while not (found := re.search(r"WANDB_BASE_URL=(\S+)", line := process.stdout.readline())):
        assert line
    answer = requests.get(found[1], timeout=30)
    assert answer.text.startswith("<!doctype html>")
    foreign = requests.get(found[1], headers={"Host": "evil.example"}, timeout=30)
    assert foreign.status_code == 400
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
