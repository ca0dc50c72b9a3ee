"""What Compose is asked for: every node's name, rank and variables, mounts, labels, GPUs."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from metta_sandbox.resources import compose_folder
from metta_sandbox.scenario.names import node_host
from metta_sandbox.scenario.provision import NodeLimits
from metta_sandbox.stack.credentials import Credential
from metta_sandbox.stack.engines.base import RUN_FOLDER, StackPlan
from metta_sandbox.stack.engines.compose.request import (
    HOME,
    INTERPRETER,
    WORKSPACE,
    ContainerInits,
    NodeImage,
    Placement,
    compose_request,
)
from metta_sandbox.stack.engines.compose.subnet import free_subnets
from metta_sandbox.stack.provision import MountSpec, Provision
from metta_sandbox.stack.sidecar_service import WATCHER

CONTRACT = {
    "NUM_NODES", "NODE_INDEX", "MASTER_ADDR", "MASTER_PORT", "NUM_GPUS", "RANK", "LOCAL_RANK",
    "WORLD_SIZE", "DIST_URL", "SKYPILOT_TASK_ID", "WANDB_MODE", "OMP_NUM_THREADS",
}  # fmt: skip


def request(nodes: int = 2, place: Placement | None = None, **more: Any) -> dict[str, Any]:
    plan = StackPlan(
        run="20260101-ab",
        scenario="basic",
        hosts=tuple(node_host(rank) for rank in range(nodes)),
        folder=Path("/artifacts/basic"),
        **more,
    )
    place = place or Placement("metta-x", "image:tag", "1000:1000", Path("/cache/agent.pyz"))
    base = YAML(typ="safe", pure=True).load((compose_folder() / "compose.yaml").read_text())
    return compose_request(base, plan, place)


def targets(service: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {mount["target"]: mount for mount in service["volumes"]}


@pytest.mark.parametrize("nodes", [1, 2, 3, 16, 64])
def test_every_node_has_its_name_and_rank(nodes: int) -> None:
    hosts = [node_host(rank) for rank in range(nodes)]
    asked = request(nodes)
    assert set(asked["services"]) == {*hosts, "hub", "dummy-api"}
    for rank, host in enumerate(hosts):
        service = asked["services"][host]
        env = service["environment"]
        assert service["container_name"] == f"metta-x-{host}"
        assert service["hostname"] == host
        assert f"--node={host}" in service["command"]
        assert env.keys() >= CONTRACT
        assert env["RANK"] == env["NODE_INDEX"] == str(rank)
        assert env["WORLD_SIZE"] == env["NUM_NODES"] == str(nodes)
        assert env["MASTER_ADDR"] == "sweep-master"
        assert env["DIST_URL"] == f"tcp://sweep-master:{env['MASTER_PORT']}"
        assert env["OBSERVATORY_URL"] == "http://dummy-api:8080"
        assert env["COGWEB_URL"] == "http://dummy-api:8081"


def test_sixty_four_nodes_are_named_as_designed_and_have_room() -> None:
    subnet = next(free_subnets("metta-x", 64, []))
    place = Placement("metta-x", "i", "1:1", Path("/a"), subnet=str(subnet))
    asked = request(64, place)
    assert [name for name in asked["services"] if name.startswith("sweep")] == [
        "sweep-master",
        "sweep-worker",
        *(f"sweep-worker-{rank}" for rank in range(2, 64)),
    ]
    (config,) = asked["networks"]["stack"]["ipam"]["config"]
    assert IPv4Network(config["subnet"]).num_addresses >= 64 + 5


@pytest.mark.parametrize("nodes", [1, 2, 3, 11, 27, 64])
def test_everybody_has_an_address_of_its_own_by_which_the_hub_knows_it(nodes: int) -> None:
    subnet = next(free_subnets("metta-x", nodes, []))
    place = Placement("p", "i", "1:1", Path("/a"), subnet=str(subnet))
    services = request(nodes, place, sidecars=(WATCHER,))["services"]
    named = {name: each for name, each in services.items() if not name.endswith("-watcher")}
    addresses = {name: each["networks"]["stack"]["ipv4_address"] for name, each in named.items()}
    assert len(set(addresses.values())) == nodes + 2
    # The first one is the gateway's.
    assert {IPv4Address(each) for each in addresses.values()} <= {*list(subnet.hosts())[1:]}
    hub = addresses.pop("hub")
    told = {word for word in services["hub"]["command"] if word.startswith("--node=")}
    assert told == {f"--node={name}={address}" for name, address in addresses.items()}
    for name in addresses:
        assert f"--hub=tcp:{hub}:7077" in services[name]["command"]
        assert services[name]["depends_on"] == ["hub"]


def test_the_network_has_no_way_out_to_the_machine_neither() -> None:
    asked = request(3)
    network = asked["networks"]["stack"]
    assert (network["internal"], network["enable_ipv6"]) == (True, False)
    # Engines take the words for a boolean, and an unknown option for none.
    assert network["driver_opts"] == {"com.docker.network.bridge.inhibit_ipv4": "true"}
    for service in asked["services"].values():
        assert (service["networks"], service["dns"]) == (["stack"], ["127.0.0.1"])


def test_nobody_is_root_or_has_capabilities_or_ports() -> None:
    for service in request(3)["services"].values():
        assert service["user"] == "1000:1000"
        assert service["cap_drop"] == ["ALL"]
        assert "ports" not in service
        assert "privileged" not in service


def test_beside_each_node_is_what_the_plan_asks_for_with_the_rights_it_needs() -> None:
    place = Placement("metta-x", "i", "1:1", Path("/a.pyz"), labels={"dev.metta-sandbox.run": "r"})
    asked = request(2, replace(place, nodes=NodeImage("theirs", foreign=True)), sidecars=(WATCHER,))
    assert set(asked["services"]) - set(request(2)["services"]) == {
        "sweep-master-watcher",
        "sweep-worker-watcher",
    }
    (mount,) = asked["services"]["sweep-worker-watcher"].pop("volumes")
    assert (mount["source"], mount["read_only"]) == ("/a.pyz", True)
    names = "hub metta-x-hub dummy-api metta-x-dummy-api sweep-master metta-x-sweep-master"
    assert asked["services"]["sweep-worker-watcher"] == {
        "image": "i",
        "container_name": "metta-x-sweep-worker-watcher",
        "network_mode": "service:sweep-worker",
        "entrypoint": [INTERPRETER, "-S", "/opt/metta/agent.pyz"],
        "command": ["watch"],
        "environment": {
            "METTA_NODE": "sweep-worker",
            "METTA_NAMES": f"{names} sweep-worker metta-x-sweep-worker",
        },
        "user": "0:0",
        "cap_drop": ["ALL"],
        "cap_add": ["NET_ADMIN", "NET_RAW"],
        "security_opt": ["no-new-privileges:true"],
        "read_only": True,
        "labels": place.labels,
    }
    assert "cap_add" not in asked["services"]["sweep-worker"]


def test_everything_is_labelled() -> None:
    place = Placement("metta-x", "i", "1:1", Path("/a"), labels={"dev.metta-sandbox.run": "r"})
    asked = request(2, place)
    assert all(one["labels"] == place.labels for one in asked["services"].values())
    assert asked["networks"]["stack"]["labels"] == place.labels


def test_a_working_copy_is_mounted_live_on_every_node() -> None:
    asked = request(3, source=Path("/home/me/copy"))
    for host in ("sweep-master", "sweep-worker", "sweep-worker-2"):
        service = asked["services"][host]
        assert service["working_dir"] == WORKSPACE
        assert targets(service)[WORKSPACE]["source"] == "/home/me/copy"
        assert targets(service)[WORKSPACE]["read_only"] is False
    assert WORKSPACE not in targets(asked["services"]["dummy-api"])
    assert request()["services"]["sweep-worker"]["working_dir"] == RUN_FOLDER


def test_credentials_are_mounted_read_only_and_the_api_gets_its_token_alone(
    tmp_path: Path,
) -> None:
    (tmp_path / "observatory_tokens.yaml").write_text("secret")
    given = (Credential(".netrc", Path("/me/.netrc")), Credential(".metta", tmp_path))
    place = Placement("metta-x", "i", "1:1", Path("/a"), credentials=given)
    asked = request(2, place)
    for host in ("sweep-master", "sweep-worker"):
        mounts = targets(asked["services"][host])
        assert mounts[f"{HOME}/.netrc"]["read_only"] is True
        assert mounts[f"{HOME}/.metta"]["read_only"] is True
    api = targets(asked["services"]["dummy-api"])
    (token,) = (mount for mount in api.values() if mount["source"].startswith(str(tmp_path)))
    assert token["read_only"] is True
    assert not any(target.startswith(HOME) for target in api)
    assert "secret" not in str(asked)
    assert not any(HOME in target for target in targets(request()["services"]["sweep-worker"]))


def test_what_a_scenario_mounts_is_seen_by_nodes_alone() -> None:
    mounts = (MountSpec(Path("/x/data"), "/data"), MountSpec(Path("/y"), "/y", read_only=False))
    asked = request(provision=Provision(mounts=mounts, shared_memory=2**20))
    for host in ("sweep-master", "sweep-worker"):
        service = asked["services"][host]
        assert service["shm_size"] == 2**20
        assert targets(service)["/data"]["source"] == "/x/data"
        assert (targets(service)["/data"]["read_only"], targets(service)["/y"]["read_only"]) == (
            True,
            False,
        )
    for host in ("hub", "dummy-api"):
        assert "/data" not in targets(asked["services"][host])
    assert request()["services"]["sweep-master"]["shm_size"] == 2**31


def test_what_a_node_may_take_is_bounded() -> None:
    place = Placement("p", "image:tag", "7:8", Path("/agent.pyz"), memory=2**33)
    given = NodeLimits(processes=100, memory=2**30, files=1000)
    for limits, processes, memory, files in (
        (NodeLimits(), 4096, 2**33, 65536),
        (given, 100, 2**30, 1000),
    ):
        services = request(place=place, provision=Provision(limits=limits))["services"]
        for host in ("sweep-master", "sweep-worker"):
            assert services[host]["pids_limit"] == processes
            assert services[host]["mem_limit"] == services[host]["memswap_limit"] == memory
            assert f"--files={files}" in services[host]["command"]
            assert "ulimits" not in services[host], "which some engines refuse to raise"
        for host in ("hub", "dummy-api"):
            assert services[host]["pids_limit"] == 512
            assert "mem_limit" not in services[host]


def test_only_nodes_are_made_of_an_image_of_the_users() -> None:
    nodes = NodeImage("my/trainer:1", "/usr/bin/python3.9", foreign=True)
    place = Placement("p", "image:tag", "7:8", Path("/agent.pyz"), nodes=nodes)
    services = request(place=place)["services"]
    for host in ("hub", "dummy-api"):
        assert services[host]["image"] == "image:tag"
        assert services[host]["entrypoint"][0] == INTERPRETER
    for host in ("sweep-master", "sweep-worker"):
        assert services[host]["image"] == "my/trainer:1"
        assert services[host]["entrypoint"] == ["/usr/bin/python3.9", "-S", "/opt/metta/agent.pyz"]
        assert services[host]["user"] == "7:8"
        # The image knows nobody of that number.
        assert services[host]["environment"]["HOME"] == "/home/metta"
        assert services[host]["environment"]["USER"] == "metta"
        assert services[host]["tmpfs"] == ["/home/metta:exec,mode=0700,uid=7,gid=8"]


def test_an_image_with_a_trainers_packages_is_ours_otherwise() -> None:
    place = Placement("p", "image:tag", "7:8", Path("/agent.pyz"), nodes=NodeImage("more:1"))
    service = request(place=place)["services"]["sweep-worker"]
    assert (service["image"], service["entrypoint"][0]) == ("more:1", INTERPRETER)
    assert "tmpfs" not in service
    assert "HOME" not in service["environment"]


def test_gpus_are_asked_for_and_told() -> None:
    asked = request(2, hardware="gpu")["services"]
    for host in ("sweep-master", "sweep-worker"):
        (device,) = asked[host]["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]
        assert asked[host]["environment"]["NUM_GPUS"] == "1"
    assert "deploy" not in asked["dummy-api"]
    assert request()["services"]["sweep-worker"]["environment"]["NUM_GPUS"] == "0"
    assert "deploy" not in request()["services"]["sweep-worker"]


def test_a_standing_stack_stays_when_its_harness_leaves() -> None:
    for service in request(2, standing=True)["services"].values():
        assert service["command"][1] == "--standing"
    for service in request(2)["services"].values():
        assert "--standing" not in service["command"]


def test_a_dollar_sign_is_no_variable() -> None:
    asked = request(2, env={"PRICE": "$5 ${HOME}"})
    assert asked["services"]["sweep-worker"]["environment"]["PRICE"] == "$$5 $${HOME}"


def test_what_several_scenarios_use_has_keepers_and_the_first_nodes_a_seed() -> None:
    place = Placement(
        *("metta-x", "image:tag", "1000:1000", Path("/cache/agent.pyz")),
        subnet="10.213.0.0/28",
        container_inits=ContainerInits(("sweep-master",), "/venv/bin/python"),
    )
    kept, own = (
        request(place=each)["services"] for each in (place, replace(place, container_inits=None))
    )
    for name in own:
        template = ["--template=/venv/bin/python"] if name == "sweep-master" else []
        assert kept[name]["command"] == ["container-init", *template, "--", *own[name]["command"]]
        assert {**kept[name], "command": []} == {**own[name], "command": []}


def test_nodes_of_a_task_see_their_own_mounts_and_skypilots_variables_alone() -> None:
    own = {
        node_host(rank): (
            MountSpec(Path(f"/run/{rank}"), "~/sky_workdir", read_only=False),
            MountSpec(Path("/shared"), "/data/in", read_only=False),
        )
        for rank in range(2)
    }
    asked = request(provision=Provision(own=own), variables="skypilot")

    for rank in range(2):
        service = asked["services"][node_host(rank)]
        mounts = targets(service)
        assert mounts[f"{HOME}/sky_workdir"]["source"] == f"/run/{rank}"
        assert mounts["/data/in"]["source"] == "/shared"
        assert set(service["environment"]) & CONTRACT == {"WANDB_MODE"}


def test_a_network_that_is_opened_has_a_bridge_with_an_address() -> None:
    sealed = request()
    opened = request(provision=Provision(way_out=True))

    assert sealed["networks"]["stack"]["internal"] is True
    assert opened["networks"]["stack"]["internal"] is False
    assert "driver_opts" not in opened["networks"]["stack"]
    assert "dns" not in opened["services"]["sweep-master"]
    # Hub and control plane look up nobody.
    assert opened["services"]["dummy-api"]["dns"] == ["127.0.0.1"]


def test_the_index_sees_its_answers_and_cannot_change_them() -> None:
    asked = request()
    mount = targets(asked["services"]["dummy-api"])["/var/lib/metta-packages"]

    assert mount["read_only"] is True
    assert "/var/lib/metta-packages" not in targets(asked["services"]["sweep-master"])
