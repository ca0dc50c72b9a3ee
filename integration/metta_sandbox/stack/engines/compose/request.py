"""What is asked of Compose: ``compose/compose.yaml``, filled in for one run. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from metta_sandbox.scenario.names import API, WORKER
from metta_sandbox.scenario.provision import NodeLimits
from metta_sandbox.stack.credentials import Credential, tokens_of
from metta_sandbox.stack.engines.base import HUB, RUN_FOLDER, StackPlan
from metta_sandbox.stack.node_environment import NodeSpec, node_environment
from metta_sandbox.stack.package_index import PORT, answers_folder
from metta_sandbox.stack.sidecar_service import SidecarService

#: Where things are inside a container.
AGENT = "/opt/metta/agent.pyz"
#: What runs it, where the image is ours.
INTERPRETER = "/opt/metta/venv/bin/python3"
#: Before it: Python without anybody's packages, of which it has no use.
PLAIN = ("-S",)
EVENTS = "/tmp/metta-agent.sock"  # noqa: S108 - a container's own /tmp
WORKSPACE = "/workspace"
API_DATA = "/var/lib/metta-api"
WANDB_PORT = 8083
API_PACKAGES = "/var/lib/metta-packages"
HOME = "/home/metta"
TOKENS_FILE = "/run/metta/observatory_tokens.yaml"
MASTER_PORT = 8008
#: Where the hub listens, as seen in its own container.
HUB_PORT = 7077
HUB_ADDRESS = f"tcp:127.0.0.1:{HUB_PORT}"
#: Where the control plane listens.
API_PORTS = (8080, 8081, PORT)


@dataclass(frozen=True)
class NodeImage:
    """The image that nodes are made of.

    Args:
        tag: The image.
        interpreter: Its Python that runs the agent.
        foreign: Whether it is the user's, which knows no node user and has no home for one.

    """

    tag: str
    interpreter: str = INTERPRETER
    foreign: bool = False


@dataclass(frozen=True)
class ContainerInits:
    """What keeps containers for several scenarios: ``metta_sandbox.node.agent.container_init``.

    Args:
        seeded: The hosts that have torch imported once for all of them.
        python: The interpreter that has.

    """

    with_templates: tuple[str, ...]
    python: str


@dataclass(frozen=True)
class Placement:
    """What a stack's containers have in common, and what is found on this host for them.

    Args:
        project: The Compose project, which begins every name.
        image: The nodes' image.
        user: ``uid:gid`` of the node user.
        agent: The zipapp on this host.
        labels: Labels of everything that is made.
        subnet: The network's subnet, or None for one of the engine's choice.
        credentials: What nodes see under their home; copies, when the caller is root.
        memory: Bytes that a node may take where a scenario does not say; None for no limit.
        nodes: What nodes are made of, if not of the image that hub and control plane are.
        container_inits: What keeps the containers, if they are for several scenarios.

    """

    project: str
    image: str
    user: str
    agent: Path
    labels: Mapping[str, str] = field(default_factory=dict)
    subnet: str | None = None
    credentials: tuple[Credential, ...] = ()
    memory: int | None = None
    nodes: NodeImage | None = None
    container_inits: ContainerInits | None = None


def container_name(project: str, service: str) -> str:
    """Name a service's container."""
    return f"{project}-{service}"


def compose_request(base: Mapping[str, Any], plan: StackPlan, place: Placement) -> dict[str, Any]:
    """Fill the Compose file in for a run.

    Args:
        base: ``compose/compose.yaml`` as read.
        plan: What is wanted.
        place: Where and as what.

    Returns:
        A whole Compose file, with every dollar sign escaped.

    """
    request = {key: copy.deepcopy(value) for key, value in base.items() if not key.startswith("x-")}
    request["name"] = place.project
    services = request["services"]
    worker = services.pop(WORKER)
    for host in plan.hosts[1:]:
        services[host] = {**copy.deepcopy(worker), "command": _command(worker["command"], host)}
    for name, service in services.items():
        _place(service, name, place)
        if plan.standing:
            program, *rest = service["command"]
            service["command"] = [program, "--standing", *rest]
    for rank, host in enumerate(plan.hosts):
        _make_node(services[host], rank, plan)
        services[host] |= _limits(plan.provision.limits, place.memory)
        services[host]["command"].append(f"--files={plan.provision.limits.files}")
        if place.nodes:
            _make_of(services[host], place.nodes, place.user)
        services[host]["volumes"] += [
            _mount(each.source, f"{HOME}/{each.name}", read_only=True) for each in place.credentials
        ]
    _make_api(services[API], plan, tokens_of(place.credentials))
    names = [name for each in services for name in (each, container_name(place.project, each))]
    for sidecar in plan.sidecars:
        for host in plan.hosts:
            services[sidecar.service(host)] = _make_sidecar(sidecar, host, names, place)
    network = request["networks"]["stack"]
    network["labels"] = dict(place.labels)
    if plan.provision.way_out:
        _open(network, [services[host] for host in plan.hosts])
    addresses = {}
    if place.subnet:
        network["ipam"] = {"config": [{"subnet": place.subnet}]}
        addresses = _settle(services, (HUB, API, *plan.hosts), place.subnet)
    services[HUB]["command"] += [
        f"--node={name}={addresses.get(name, '')}" for name in (API, *plan.hosts)
    ]
    _keep(services, place.container_inits)
    escaped: dict[str, Any] = _escape(request)
    return escaped


def _open(network: dict[str, Any], nodes: list[dict[str, Any]]) -> None:
    """Give nodes a way out: a bridge that has an address, and the machine's name servers."""
    network["internal"] = False
    del network["driver_opts"]
    for node in nodes:
        del node["dns"]


def _place(service: dict[str, Any], name: str, place: Placement) -> None:
    service.update(
        image=place.image,
        container_name=container_name(place.project, name),
        hostname=name,
        user=place.user,
        labels=dict(place.labels),
        entrypoint=[INTERPRETER, *PLAIN, AGENT],
        volumes=[_mount(place.agent, AGENT, read_only=True)],
    )


def _settle(services: dict[str, Any], names: Sequence[str], subnet: str) -> dict[str, str]:
    """Give all of a stack addresses that are known beforehand: the last ones, given to nobody else.

    The hub knows its nodes by theirs, and they know the hub's.

    Of a container that is not there yet, an engine's DNS says nothing at all on a network without
    a way out, and whoever has asked waits for five seconds. Nor may anybody call it by its address
    before it is there: a kernel asks again who has an address only after a second.
    """
    network = IPv4Network(subnet)
    addresses = {name: str(network[-2 - place]) for place, name in enumerate(names)}
    for name, service in services.items():
        if name in addresses:
            service["networks"] = {"stack": {"ipv4_address": addresses[name]}}
        if name != HUB:
            service["depends_on"] = [HUB]
        service["command"] = [
            word.replace(f"--hub=tcp:{HUB}:", f"--hub=tcp:{addresses[HUB]}:")
            for word in service["command"]
        ]
    return addresses


def _keep(services: dict[str, Any], container_inits: ContainerInits | None) -> None:
    if container_inits is None:
        return
    for name, service in services.items():
        template = (
            [f"--template={container_inits.python}"]
            if name in container_inits.with_templates
            else []
        )
        service["command"] = ["container-init", *template, "--", *service["command"]]


def _make_api(service: dict[str, Any], plan: StackPlan, tokens: Path | None) -> None:
    service["environment"] = {"METTA_EVENTS": EVENTS, "METTA_NODE": API}
    service["volumes"] += [
        _mount(plan.folder / "api", API_DATA),
        _mount(answers_folder(plan.run, plan.scenario), API_PACKAGES, read_only=True),
    ]
    if tokens:
        service["volumes"].append(_mount(tokens, TOKENS_FILE, read_only=True))
        service["command"] = [*service["command"], f"--tokens={TOKENS_FILE}"]
    if plan.wandb:
        service["command"] = [*service["command"], f"--wandb-port={WANDB_PORT}"]


def _make_node(service: dict[str, Any], rank: int, plan: StackPlan) -> None:
    node = NodeSpec(
        host=plan.hosts[rank],
        rank=rank,
        num_nodes=len(plan.hosts),
        master_addr=plan.hosts[0],
        master_port=MASTER_PORT,
        task=plan.task,
        run_folder=RUN_FOLDER,
        agent=AGENT,
        events=EVENTS,
        scenario=f"{RUN_FOLDER}/{plan.scenario_file.name}",
        num_gpus=plan.num_gpus,
        served_wandb=plan.wandb,
        variables=plan.variables,
    )
    control_plane = {"OBSERVATORY_URL": f"http://{API}:8080", "COGWEB_URL": f"http://{API}:8081"}
    service["environment"] = {**node_environment(node), **control_plane, **plan.env}
    service["working_dir"] = WORKSPACE if plan.source else RUN_FOLDER
    service["shm_size"] = plan.provision.shared_memory
    service["volumes"].append(_mount(plan.run_folder, RUN_FOLDER))
    service["volumes"] += [
        _mount(each.source, each.target, read_only=each.read_only) for each in plan.provision.mounts
    ]
    service["volumes"] += [
        _mount(each.source, _at_home(each.target), read_only=each.read_only)
        for each in plan.provision.own.get(node.host, ())
    ]
    if plan.source:
        service["volumes"].append(_mount(plan.source, WORKSPACE))
    if plan.hardware == "gpu":
        devices = [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
        service["deploy"] = {"resources": {"reservations": {"devices": devices}}}


def _at_home(target: str) -> str:
    return f"{HOME}/{target.removeprefix('~/')}" if target.startswith("~/") else target


def _limits(limits: NodeLimits, memory: int | None) -> dict[str, Any]:
    most = limits.memory or memory
    # What would go on in swap space is to end as well.
    bounded = {"mem_limit": most, "memswap_limit": most} if most else {}
    return {"pids_limit": limits.processes, **bounded}


def _make_sidecar(
    sidecar: SidecarService, host: str, names: list[str], place: Placement
) -> dict[str, Any]:
    service: dict[str, Any] = {}
    _place(service, sidecar.service(host), place)
    # It goes by the node's own name, whose network it shares.
    del service["hostname"]
    service |= {
        "network_mode": f"service:{host}",
        "command": list(sidecar.command),
        "environment": {"METTA_NODE": host, "METTA_NAMES": " ".join(names)},
        # A capability that is added goes to root alone.
        "user": "0:0",
        "cap_drop": ["ALL"],
        "cap_add": list(sidecar.capabilities),
        "security_opt": ["no-new-privileges:true"],
        "read_only": True,
    }
    return service


def _make_of(service: dict[str, Any], image: NodeImage, user: str) -> None:
    service["image"] = image.tag
    service["entrypoint"] = [image.interpreter, *PLAIN, AGENT]
    if image.foreign:
        # Nobody there has the caller's numbers, so what is usually looked up is said.
        service["environment"] |= {"HOME": HOME, "USER": "metta", "LOGNAME": "metta"}
        uid, _, gid = user.partition(":")
        service["tmpfs"] = [f"{HOME}:exec,mode=0700,uid={uid},gid={gid}"]


def _command(command: list[str], host: str) -> list[str]:
    return [f"--node={host}" if word.startswith("--node=") else word for word in command]


def _mount(source: Path, target: str, *, read_only: bool = False) -> dict[str, Any]:
    # Compose must not make a missing folder as root: what is mounted exists, or it is an error.
    return {
        "type": "bind",
        "source": str(source),
        "target": target,
        "read_only": read_only,
        "bind": {"create_host_path": False},
    }


def _escape(value: Any) -> Any:
    """Keep Compose from taking a dollar sign for a variable."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {key: _escape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_escape(inner) for inner in value]
    return value
