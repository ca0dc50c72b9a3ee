"""A part of a sweep fails in mid-training: what is said of it, and that nobody waits for it."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from metta_sandbox.report.results import ScenarioResult

if TYPE_CHECKING:
    from tests.integration.play.conftest import Command, Start, Write

#: Nobody waits for longer, on a busy machine either: less than the default silence of 60 s.
SECONDS = 45

#: A trainer that raises in its second step, on rank 1 in the first trial.
RAISES = """\
import os, sys
if sys.orig_argv[1:3] == ["-m", "metta_sandbox.node.arena"] and os.environ["RANK"] == "1":
    from metta_sandbox.node.agent.emitter import Emitter
    emit = Emitter.emit
    def raising(self, event, **fields):
        if (event, fields.get("step"), os.environ["METTA_TRIAL"]) == ("train.step", 2, "1"):
            raise RuntimeError("rank 1 has had enough")
        emit(self, event, **fields)
    Emitter.emit = raising
"""


def played(command: Command, status: int) -> ScenarioResult:
    """Wait for the end, and make sure that the evidence is there and nobody else is."""
    assert command.wait() == status, command.text
    assert "Traceback" not in command.text
    result = command.results()
    (scenario,) = result.scenarios
    folder = command.folder / "tiny"
    for name in ("scenario.yaml", "timeline.log", "timeline.jsonl"):
        assert (folder / name).stat().st_size > 0, name
    for host in ("sweep-master", "sweep-worker", "dummy-api"):
        assert (folder / "logs" / f"{host}.log").exists(), host
    assert command.left() == []
    return scenario


def trial(command: Command, number: int) -> dict[str, Any]:
    path = command.folder / "tiny" / "trials" / f"tiny.r.{number}" / "trial.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_trainer_that_raises_on_rank_1_fails_its_trial_and_the_next_one_runs(
    cli: Start, tiny: Write, hooked: Callable[[str], Path]
) -> None:
    expect = [{"trials": {"completed": 1, "failed": 1}}]
    # The hook strikes where a rank's interpreter starts.
    scenario_file = tiny(trials=2, steps=4, expect=expect, launcher="torchrun")
    command = cli("run", scenario_file, "--engine", "process", python=hooked(RAISES))

    scenario = played(command, 0)

    assert [each.status for each in scenario.trials] == ["failed", "completed"]
    reason = trial(command, 1)["reason"]
    assert "rank 1 exited with status 1, saying: RuntimeError: rank 1 has had enough" in reason
    assert "trial 1 (tiny.r.1) failed, rank 1 on sweep-worker first: " in command.text
    log = (command.folder / "tiny/trials/tiny.r.1/rank-1.log").read_text()
    assert "rank 1 has had enough" in log
    raised = next(
        entry["received"]
        for entry in command.entries()
        if entry.get("event") == "rank.exited" and (entry["rank"], entry["group"]) == (1, "trial-1")
    )
    over = command.event("observation.recorded", trial=1)["received"]
    assert over - raised < SECONDS


def test_a_port_that_is_taken_fails_its_trial_and_the_next_one_has_another(
    cli: Start, tiny: Write
) -> None:
    expect = [{"trials": {"completed": 1, "failed": 1}}]
    # A warm process would have the port before this one could take it.
    scenario_file = tiny(trials=2, expect=expect, launcher="torchrun")
    command = cli("run", scenario_file, "--engine", "process")
    port = command.event("handoff.sent", trial=1)["port"]

    with socket.create_server(("", port)):
        scenario = played(command, 0)

    assert [each.status for each in scenario.trials] == ["failed", "completed"]
    reason = trial(command, 1)["reason"]
    assert "address already in use" in reason
    assert str(port) in reason


@pytest.mark.skipif(sys.platform != "linux", reason="ports are held on Linux alone")
def test_ports_are_nobody_elses_before_they_are_bound(cli: Start, tiny: Write) -> None:
    command = cli("run", tiny(launcher="torchrun"), "--engine", "process")
    (master,) = command.eventual_nodes("sweep-master", "agent")
    refuses(int(master.environ["MASTER_PORT"]))
    refuses(command.event("handoff.sent", trial=1)["port"])
    played(command, 0)


def refuses(port: int) -> None:
    with socket.socket() as one, pytest.raises(OSError, match="in use"):
        one.bind(("", port))


def test_the_sweeps_own_port_being_taken_ends_it(cli: Start, tiny: Write) -> None:
    command = cli("run", tiny(), "--engine", "process")
    command.says("starting 2 nodes")
    (master,) = command.eventual_nodes("sweep-master", "agent")
    port = master.environ["MASTER_PORT"]

    with socket.create_server(("", int(port))):
        scenario = played(command, 1)

    assert scenario.verdict == "failed"
    assert scenario.reason.startswith("the sweep's rollout on sweep-master exited with status 1")
    assert "address already in use" in scenario.reason
    assert port in scenario.reason


#: An agent that ends before it has registered.
ENDS = """\
import os, sys
if os.environ.get("METTA_NODE") == "sweep-worker" and sys.orig_argv[2] == "agent":
    sys.stderr.write("no luck today\\n")
    os._exit(7)
"""


def test_a_node_that_ends_at_its_start_is_not_waited_for(
    cli: Start, tiny: Write, hooked: Callable[[str], Path]
) -> None:
    command = cli("run", tiny(), "--engine", "process", python=hooked(ENDS))

    scenario = played(command, 1)

    assert (scenario.verdict, scenario.trials, scenario.checks) == ("error", (), ())
    reason = "not ready: sweep-worker exited with status 7, saying: no luck today"
    assert scenario.reason == reason
    assert scenario.seconds < SECONDS


@pytest.mark.slow  # in containers it is played in CI
def test_a_node_killed_from_outside_ends_the_sweep_within_seconds(cli: Start, tiny: Write) -> None:
    command = cli("run", tiny(steps=None), "--engine", "process")
    command.event("train.step", rank=1)
    (agent,) = command.nodes("sweep-worker", "agent", "--node=sweep-worker")
    killed = time.monotonic()
    agent.signal(signal.SIGKILL)

    scenario = played(command, 1)

    assert time.monotonic() - killed < SECONDS
    assert scenario.verdict == "failed"
    assert scenario.reason == "sweep-worker is lost: sweep-worker was killed by signal 9"


@pytest.mark.slow  # Others that hang are in the tests of autopsies.
def test_a_rank_that_stands_still_is_ended_by_the_longest_silence(cli: Start, tiny: Write) -> None:
    command = cli("run", tiny(steps=None, longest_silence="15s"), "--engine", "process")
    os.kill(command.event("train.step", rank=1)["pid"], signal.SIGSTOP)
    stopped = time.monotonic()

    scenario = played(command, 1)

    assert time.monotonic() - stopped < 15 + SECONDS
    assert scenario.verdict == "failed"
    assert "no event and no log line for 15 s" in scenario.reason
    assert "sweep-worker: train.step" in scenario.reason


def test_a_sweep_is_ended_at_its_deadline(cli: Start, tiny: Write) -> None:
    command = cli("run", tiny(steps=None, deadline="8s"), "--engine", "process")

    scenario = played(command, 1)

    assert scenario.verdict == "failed"
    assert scenario.reason == "the sweep was not over after its deadline of 8 s"
    assert scenario.seconds < 8 + SECONDS


def test_a_control_plane_killed_in_mid_sweep_is_named(cli: Start, tiny: Write) -> None:
    command = cli("run", tiny(trials=2, steps=30), "--engine", "process")
    command.event("train.step", rank=0)
    (server,) = _api_servers(command)
    server.signal(signal.SIGKILL)

    scenario = played(command, 1)

    assert scenario.verdict == "failed"
    assert "the sweep's rollout on sweep-master exited with status" in scenario.reason
    assert "UnreachableError" not in scenario.reason
    assert "before that, dummy-api's server was killed by signal 9" in scenario.reason
    assert scenario.seconds < 80


def test_a_control_plane_that_answers_500_is_quoted(cli: Start, tiny: Write) -> None:
    command = cli("run", tiny(trials=2, steps=30), "--engine", "process")
    ready = command.event("api.ready")
    command.event("train.step", rank=0)
    (server,) = _api_servers(command)
    server.signal(signal.SIGKILL)

    with (
        _Failing(ready["host"], ready["observatory_port"]),
        _Failing(ready["host"], ready["cogweb_port"]),
    ):
        scenario = played(command, 1)

    assert scenario.verdict == "failed"
    # The other node, which loses its connection, may end before the one that was answered so.
    (cause,) = scenario.causes
    assert "500" in cause.sentence
    assert "/stats/" in cause.sentence


def _api_servers(command: Command) -> list[Any]:
    return [
        each
        for each in command.nodes("dummy-api", "metta_sandbox.services")
        if each.command[1:3] == ("-m", "metta_sandbox.services")
    ]


class _Failing:
    """A server that answers 500 to everything."""

    def __init__(self, host: str, port: int) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def _fail(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = b'{"detail": "out of order"}'
                self.send_response(500)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _fail  # noqa: N815 - the base class's names

            def log_message(self, *_: object) -> None:
                pass

        self._server = _take(host, port, Handler)

    def __enter__(self) -> None:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _take(host: str, port: int, handler: type) -> http.server.ThreadingHTTPServer:
    deadline = time.monotonic() + 10
    while True:
        try:
            return http.server.ThreadingHTTPServer((host, port), handler)
        except OSError:
            # The one that was killed has not gone yet.
            assert time.monotonic() < deadline
