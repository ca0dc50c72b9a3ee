"""Answers that get lost on a real connection, and a client that asks again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from metta_sandbox.node.control_plane import ControlPlane
from metta_sandbox.scenario.services import ANSWERS, Services

NEXT = "POST /sweeps/{name}/runs/next"

Start = Callable[..., str]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def start(*rules: dict[str, Any]) -> str:
            services = Services.model_validate({"api": list(rules)})
            (tmp_path / ANSWERS).write_text(services.model_dump_json())
            words = ["--observatory-port", "0", "--cogweb-port", "0", "--data", str(tmp_path)]
            process = subprocess.Popen(
                [sys.executable, "-m", "metta_sandbox.api", *words], stdout=subprocess.PIPE
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            return f"http://{ready['host']}:{ready['cogweb_port']}"

        yield start


def transcript(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]


def test_a_lost_answer_costs_a_name_unless_the_key_is_sent_again(
    start: Start, tmp_path: Path
) -> None:
    url = start({"route": NEXT, "call": [2, 4], "drop": True})
    plane = ControlPlane(url, url)
    plane.create_sweep("s", project="p", entity="e", wandb_sweep_id="w")

    names = [plane.next_run("s"), plane.next_run("s")]

    assert names == ["s.r.1", "s.r.2"]
    lost, again = transcript(tmp_path)[-2:]
    assert (lost["status"], lost["scripted"], lost["dropped"]) == (None, True, True)
    assert lost["response"] == again["response"] == {"run_id": "s.r.2"}
    with pytest.raises(requests.ConnectionError):
        requests.post(f"{url}/sweeps/s/runs/next", timeout=10)
    careless = requests.post(f"{url}/sweeps/s/runs/next", timeout=10).json()
    assert careless == {"run_id": "s.r.4"}


def test_the_client_gets_over_refusals_and_a_server_that_goes_on(start: Start) -> None:
    url = start({"route": NEXT, "call": [1, 2], "status": 503})
    plane = ControlPlane(url, url)
    plane.create_sweep("s", project="p", entity="e", wandb_sweep_id="w")

    assert plane.next_run("s") == "s.r.1"
