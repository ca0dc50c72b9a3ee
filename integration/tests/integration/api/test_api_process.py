"""The control plane as a process: real sockets, two hundred callers, restarts and signals."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from metta_sandbox.node.agent.wire import LineReader, decode, encode
from metta_sandbox.node.control_plane import ControlPlane

SWEEP = {"project": "p", "entity": "e", "wandb_sweep_id": "w"}
TOKEN = "tok-of-mine"


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[str]
    data: Path
    ready: dict[str, Any]

    @property
    def observatory(self) -> str:
        return f"http://{self.ready['host']}:{self.ready['observatory_port']}"

    @property
    def cogweb(self) -> str:
        return f"http://{self.ready['host']}:{self.ready['cogweb_port']}"

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal it; returns its exit status."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def transcript(self) -> list[dict[str, Any]]:
        text = (self.data / "requests.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]


def command(data: Path, *more: str) -> list[str]:
    ports = ["--observatory-port", "0", "--cogweb-port", "0"]
    return [sys.executable, "-m", "metta_sandbox.api", *ports, "--data", str(data), *more]


Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def start(*more: str, **environ: str) -> Server:
            with (tmp_path / "stderr").open("a") as stderr:
                process = subprocess.Popen(
                    command(tmp_path / "data", *more),
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                    env={**os.environ, **environ},
                )
            stack.enter_context(process)
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            assert ready["event"] == "api.ready"
            # What is not read would fill the pipe, and hold the server.
            drain = threading.Thread(target=process.stdout.read)
            drain.start()
            stack.callback(drain.join)
            stack.callback(process.kill)
            return Server(process, tmp_path / "data", ready)

        yield start


def test_two_hundred_callers_get_two_hundred_names(start: Start) -> None:
    server = start()
    requests.post(f"{server.cogweb}/sweeps/s/create_sweep", json=SWEEP, timeout=10)
    together = threading.Barrier(200)

    def ask(number: int) -> str:
        base = server.cogweb if number % 2 else server.observatory
        with requests.Session() as session:
            session.trust_env = False
            together.wait()
            answer = session.post(f"{base}/sweeps/s/runs/next", timeout=30)
        return str(answer.json()["run_id"])

    with ThreadPoolExecutor(200) as pool:
        names = list(pool.map(ask, range(200)))

    assert sorted(names) == sorted(f"s.r.{n}" for n in range(1, 201))
    calls = [line["call"] for line in server.transcript() if line["route"].endswith("next")]
    assert sorted(calls) == list(range(1, 201))


def test_an_answer_does_not_wait_for_the_caller_s_acknowledgement(start: Start) -> None:
    server = start()
    seconds = []
    with requests.Session() as session:
        for _ in range(60):
            started = time.monotonic()
            session.get(f"{server.cogweb}/sweeps/s", timeout=10)
            seconds.append(time.monotonic() - started)

    # A delayed acknowledgement costs 40 ms, on nearly every call of a connection that is kept, once
    # it is no longer new. On a busy machine any call may take that long, but hardly all of them.
    assert min(seconds[30:]) < 0.03


def test_both_ports_answer_every_route_set(start: Start) -> None:
    server = start("--host", "127.9.8.7")
    assert server.ready["host"] == "127.9.8.7"
    requests.post(f"{server.observatory}/sweeps/s/create_sweep", json=SWEEP, timeout=10)

    for base in (server.observatory, server.cogweb):
        assert requests.get(f"{base}/sweeps/s", timeout=10).json()["exists"] is True
        assert requests.get(f"{base}/stats/policies", timeout=10).json() == []
        assert requests.get(f"{base}/health", timeout=10).json() == {"status": "ok"}
    services = [(line["port"], line["service"]) for line in server.transcript()]
    assert set(services) == {
        (server.ready["observatory_port"], "observatory"),
        (server.ready["cogweb_port"], "cogweb"),
    }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_keeps_everything(start: Start, number: int) -> None:
    first = start()
    plane = ControlPlane(first.observatory, first.cogweb)
    created = plane.create_sweep("s", "p", "e", "w")
    assert plane.next_run("s") == "s.r.1"
    policy = plane.policy("p")
    first.stop(number)

    second = start()
    plane = ControlPlane(second.observatory, second.cogweb)
    assert plane.sweep("s").wandb_sweep_id == "w"
    again = plane.create_sweep("s", "p", "e", "w")
    assert (again.created, again.sweep_id) == (False, created.sweep_id)
    assert plane.next_run("s") == "s.r.2"
    kept = requests.get(f"{second.observatory}/stats/policies/{policy}", timeout=10)
    assert kept.json()["name"] == "p"
    lines = second.transcript()
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    nexts = [line["call"] for line in lines if line["route"] == "/sweeps/{name}/runs/next"]
    assert nexts == [1, 2]


def test_the_client_does_its_whole_round(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    # A proxy of the machine's is not for the control plane.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server = start()
    plane = ControlPlane(server.observatory, server.cogweb, retries=0)

    assert plane.sweep("s").exists is False
    assert plane.create_sweep("s", "p", "e", "w").created is True
    assert plane.next_run("s") == "s.r.1"
    run = plane.training_run("s.r.1", {"seed": 1})
    epoch = plane.epoch(run, 0, 4)
    policy = plane.policy("s.r.1", url="file:///x", epoch_id=epoch)
    episode = plane.episode(policy, {"0": {"reward": 1.5}})
    assert len({run, epoch, policy, episode}) == 4
    assert plane.whoami().authenticated is False


def test_tokens_are_asked_for_and_shown_nowhere(start: Start, tmp_path: Path) -> None:
    path = tmp_path / ".metta" / "observatory_tokens.yaml"
    path.parent.mkdir()
    path.write_text(f"https://observatory.example.org: {TOKEN}\n")
    server = start("--tokens", str(path))
    environ = {"OBSERVATORY_URL": server.observatory, "COGWEB_URL": server.cogweb}

    plane = ControlPlane.from_environment(environ, home=tmp_path)
    assert plane.whoami().email == "sandbox@observatory.example.org"
    assert requests.get(f"{server.cogweb}/sweeps/{TOKEN}", timeout=10).status_code == 401
    assert requests.get(f"{server.cogweb}/health", timeout=10).status_code == 200
    server.stop()
    assert [line["authenticated"] for line in server.transcript()] == [True, False, False]
    shown = (server.data / "requests.jsonl").read_text() + (tmp_path / "stderr").read_text()
    assert TOKEN not in shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_whatever_is_open(
    start: Start, tmp_path: Path, number: int
) -> None:
    server = start()
    with (
        requests.Session() as session,
        socket.create_connection((server.ready["host"], server.ready["cogweb_port"])) as half,
    ):
        session.get(f"{server.cogweb}/health", timeout=10)  # and stays connected
        half.sendall(b"POST /sweeps/s/runs/next HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        status = server.stop(number)

    assert status == 0
    assert (tmp_path / "stderr").read_text() == ""


def test_a_caller_who_leaves_halfway_is_recorded(start: Start) -> None:
    server = start()
    with socket.create_connection((server.ready["host"], server.ready["cogweb_port"])) as half:
        half.sendall(b"POST /sweeps/s/runs/next HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
    server.stop()

    assert [(line["call"], line["status"]) for line in server.transcript()] == [(1, None)]


def test_a_port_in_use_is_one_line_and_status_3(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            command(tmp_path, "--cogweb-port", str(port)),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    assert done.returncode == 3
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in line


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        (["--host", "192.0.2.1"], 3, r"cannot listen on 192\.0\.2\.1:0: Cannot assign"),
        (["--cogweb-port", "70000"], 3, r"cannot listen on 127\.0\.0\.1:70000: ports go from"),
        (["--tokens", "/nowhere.yaml"], 2, r"/nowhere\.yaml: cannot read the tokens: No such"),
        (["--data", "/proc/nothing"], 3, r"cannot make the folder /proc/nothing"),
    ],
)
def test_what_cannot_be_had_is_one_line(
    tmp_path: Path, more: list[str], status: int, said: str
) -> None:
    done = subprocess.run(
        command(tmp_path, *more), capture_output=True, text=True, timeout=30, check=False
    )

    assert done.returncode == status
    [line] = done.stderr.splitlines()
    assert re.search(said, line)


class Agent:
    """Stands in for a node's agent: takes events in, and holds those it armed."""

    def __init__(self, path: Path, armed: dict[str, Any]) -> None:
        self.path = path
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._armed = armed
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._peer: socket.socket | None = None
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        self._peer, _ = self._listener.accept()
        reader = LineReader()
        while data := self._peer.recv(65536):
            for line in reader.feed(data):
                message = decode(line)
                if message["type"] == "hello":
                    self._arm([{"id": "held", "match": self._armed}])
                else:
                    self.events.put(message["record"])

    def _arm(self, arms: list[dict[str, Any]]) -> None:
        assert self._peer is not None
        self._peer.sendall(encode({"type": "arms", "arms": arms}))

    def await_event(self, name: str) -> dict[str, Any]:
        while (event := self.events.get(timeout=10))["event"] != name:
            pass
        return event

    def release(self) -> None:
        self._arm([])

    def close(self) -> None:
        self._listener.close()
        if self._peer is not None:
            self._peer.shutdown(socket.SHUT_RDWR)
            self._peer.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(
        tmp_path / "events",
        {"event": "api.request", "route": "/sweeps/{name}/runs/next", "call": 1},
    )
    yield agent
    agent.close()


def test_an_armed_request_waits_while_the_server_lives(start: Start, agent: Agent) -> None:
    server = start(METTA_EVENTS=str(agent.path))
    plane = ControlPlane(server.observatory, server.cogweb)
    assert agent.await_event("api.ready")["cogweb_port"] == server.ready["cogweb_port"]
    plane.create_sweep("s", "p", "e", "w")
    with ThreadPoolExecutor(1) as pool:
        name = pool.submit(plane.next_run, "s")
        assert agent.await_event("api.request")["path"] == "/sweeps/s/create_sweep"
        assert agent.await_event("api.request")["path"] == "/sweeps/s/runs/next"
        assert requests.get(f"{server.cogweb}/health", timeout=10).ok
        assert not name.done()
        agent.release()
        assert name.result(10) == "s.r.1"


def test_a_held_request_does_not_keep_it_from_stopping(start: Start, agent: Agent) -> None:
    server = start(METTA_EVENTS=str(agent.path))
    plane = ControlPlane(server.observatory, server.cogweb, retries=0)
    plane.create_sweep("s", "p", "e", "w")
    with ThreadPoolExecutor(1) as pool:
        name = pool.submit(plane.next_run, "s")
        while agent.await_event("api.request")["path"] != "/sweeps/s/runs/next":
            pass
        status = server.stop()
        assert name.exception(10) is not None

    assert status == 0
