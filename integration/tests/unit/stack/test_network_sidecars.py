"""What is asked of an engine for a container that strikes a node from beside it."""

from __future__ import annotations

import sys

import pytest

from metta_sandbox.errors import StackError
from metta_sandbox.stack.engines.compose.request import INTERPRETER
from metta_sandbox.stack.engines.compose.sidecars import (
    DISK,
    NETWORK,
    SidecarBase,
    address_of,
    sidecar_base_of,
    sidecar_request,
)
from metta_sandbox.stack.engines.sidecars import Sidecar

BASE = SidecarBase("metta-x", "sha256:1", {"dev.metta-sandbox.run": "x"})


def test_it_is_what_the_hub_is_and_carries_what_the_stack_carries() -> None:
    labels = {"dev.metta-sandbox.run": "x", "com.docker.compose.service": "hub"}
    assert sidecar_base_of("metta-x", {"Image": "sha256:1", "Config": {"Labels": labels}}) == BASE


def test_it_joins_the_nodes_network_alone_and_goes_with_the_project() -> None:
    assert sidecar_request(BASE, "sweep-worker", NETWORK) == [
        *("run", "--rm", "--interactive", "--pull=never", "--read-only", "--user=0:0"),
        "--name=metta-x-sweep-worker-network",
        "--network=container:metta-x-sweep-worker",
        *("--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=NET_RAW"),
        "--security-opt=no-new-privileges:true",
        "--volumes-from=metta-x-hub:ro",
        "--label=com.docker.compose.oneoff=False",
        "--label=com.docker.compose.project=metta-x",
        "--label=com.docker.compose.service=sweep-worker-network",
        "--label=dev.metta-sandbox.run=x",
        *(
            f"--entrypoint={INTERPRETER}",
            "sha256:1",
            "-S",
            "/opt/metta/agent.pyz",
            "netfault",
        ),
    ]


def test_one_that_fills_a_disk_joins_the_nodes_processes_and_no_network() -> None:
    words = sidecar_request(BASE, "sweep-worker", DISK)

    assert "--pid=container:metta-x-sweep-worker" in words
    assert "--network=none" in words
    assert [word for word in words if word.startswith(("--cap", "--security"))] == [
        "--cap-drop=ALL",
        *(f"--cap-add={each}" for each in ("SYS_PTRACE", "SYS_CHROOT", "SYS_ADMIN")),
        *(f"--cap-add={each}" for each in ("DAC_OVERRIDE", "CHOWN")),
        "--security-opt=no-new-privileges:true",
        "--security-opt=apparmor=unconfined",
    ]
    assert words[-1] == "fill"


def test_an_address_is_the_stacks_network() -> None:
    networks = {"stack": {"IPAddress": "10.0.0.2"}}
    found = {"Name": "/a", "NetworkSettings": {"Networks": networks}}
    assert address_of(found) == "10.0.0.2"
    with pytest.raises(StackError, match="a has no address"):
        address_of({"Name": "/a", "NetworkSettings": {"Networks": {}}})


PROGRAM = """
import json, sys
print(json.dumps({"datagrams": 5, "connections": 6}), flush=True)
for line in sys.stdin:
    verb = json.loads(line)["verb"]
    if verb == "end":
        sys.exit("last words")
    told = {"error": "no"} if verb == "refuse" else {"result": json.loads(line)["args"]}
    print(json.dumps(told), flush=True)
"""


def test_it_answers_refuses_and_says_what_it_ended_of() -> None:
    sidecar = Sidecar([sys.executable, "-c", PROGRAM], "sweep-worker", "10.0.0.2")
    sidecar.await_ready()

    assert (sidecar.datagrams(), sidecar.connections()) == (("10.0.0.2", 5), ("10.0.0.2", 6))
    assert sidecar.ask("echo", a=1) == {"a": 1}
    with pytest.raises(StackError, match="beside sweep-worker: no"):
        sidecar.ask("refuse")
    with pytest.raises(StackError, match="does not answer: last words"):
        sidecar.ask("end")
    with pytest.raises(StackError, match="nobody is beside sweep-worker any more"):
        sidecar.ask("echo")


def test_it_ends_with_its_input() -> None:
    sidecar = Sidecar([sys.executable, "-c", PROGRAM], "sweep-worker", "10.0.0.2")
    sidecar.await_ready()
    sidecar.close()
    sidecar.close()


def test_one_that_does_not_start_says_why() -> None:
    sidecar = Sidecar([sys.executable, "-c", "exit('no such capability')"], "a", "10.0.0.2")
    with pytest.raises(StackError, match="beside a does not answer: no such capability"):
        sidecar.await_ready()
