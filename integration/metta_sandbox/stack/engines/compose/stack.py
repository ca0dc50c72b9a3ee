"""A stack of containers, through Docker Compose by way of python-on-whales."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import yaml
from python_on_whales import DockerClient
from python_on_whales.exceptions import DockerException
from ruamel.yaml import YAML

from metta_sandbox.errors import StackError
from metta_sandbox.image.host_cache import cache_folder
from metta_sandbox.image.image_context import REPOSITORY
from metta_sandbox.image.node_image import ImageSpec, KnownImages
from metta_sandbox.interrupt import uninterrupted
from metta_sandbox.last_words import last_words
from metta_sandbox.progress import Progress
from metta_sandbox.resources import compose_folder
from metta_sandbox.scenario.names import API
from metta_sandbox.stack.agent_app import install
from metta_sandbox.stack.credentials import (
    Credential,
    memory_folder,
    remove_copies,
    stage_credentials,
    watch_copies,
)
from metta_sandbox.stack.ends import container_status, describe_end
from metta_sandbox.stack.engines.base import HUB, RUN_FOLDER, Stack, StackPlan
from metta_sandbox.stack.engines.compose.containers import (
    complaint,
    docker,
    states,
    stop,
    tail,
    write_logs,
)
from metta_sandbox.stack.engines.compose.node_of import node_image
from metta_sandbox.stack.engines.compose.power import ContainerPower
from metta_sandbox.stack.engines.compose.request import (
    AGENT,
    HUB_ADDRESS,
    INTERPRETER,
    PLAIN,
    WORKSPACE,
    ContainerInits,
    Placement,
    compose_request,
    container_name,
)
from metta_sandbox.stack.engines.compose.sidecars import DISK, NETWORK, SidecarContainers
from metta_sandbox.stack.engines.compose.subnet import (
    POOL,
    SUBNETS,
    host_routes,
    offer_subnets,
    read_subnets,
)
from metta_sandbox.stack.lease import Owner
from metta_sandbox.stack.link import HubLink
from metta_sandbox.stack.node_environment import control_plane
from metta_sandbox.stack.package_index import (
    answers_folder,
    index_environment,
    make_answers_folder,
    remove_answers,
)
from metta_sandbox.stack.provision import node_memory
from metta_sandbox.stack.sidecar_service import SidecarService, first_line
from metta_sandbox.words import many

#: A file for 64 nodes is written in a tenth of the time, where there is a C library for it.
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
#: The nodes' interpreter inside our image.
_PYTHON = "/opt/metta/venv/bin/python"
_LAST_LINES = 20
#: Seconds that what is beside a node gets to say that it does what it is for.
_SIDE_READY = 20.0
#: Seconds that what has not ended by itself gets to do so, once it is told.
_STOPPING = 2
#: Seconds that an engine gets to come back.
_ENGINE_BACK = 20.0
_LOOK = 0.2
#: What the engine says of a subnet that is taken.
_OVERLAPS = "Pool overlaps"


class ComposeStack(Stack):
    """Nodes as containers.

    Args:
        plan: What is wanted.
        owner: Who it belongs to.
        project: The Compose project.
        images: What has looked for images before.
        kept: How many nodes have torch imported once for several scenarios, if the containers are
            kept for those.

    """

    def __init__(
        self,
        plan: StackPlan,
        owner: Owner,
        project: str,
        images: KnownImages,
        kept: int | None = None,
    ) -> None:
        super().__init__(plan)
        self._owner = owner
        self._project = project
        self._spec = ImageSpec(gpu=plan.hardware == "gpu")
        self._images = images
        self._kept = kept
        self._file = plan.folder / "compose.yaml"
        self._docker = DockerClient(compose_files=[self._file], compose_project_name=project)
        self._image: dict[str, Any] = {}

    @property
    def python(self) -> str:
        """The nodes' interpreter."""
        return _PYTHON

    def up(self, progress: Progress) -> None:
        """Make the image if it is not there, and start all containers."""
        plan = self._plan
        docker = DockerClient()
        image = self._images.ensure(self._spec, progress, docker)
        nodes = node_image(docker, image, self._spec, plan.provision, progress)
        self._image = {
            "tag": image.tag,
            "id": image.id,
            "base": image.base,
            "built": image.built,
            "seconds": image.seconds,
            **({"nodes": nodes.tag} if nodes else {}),
        }
        uid, gid = self._spec.user.uid, self._spec.user.gid
        for folder in (plan.run_folder, plan.folder / "api", plan.folder / "logs"):
            folder.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:
                os.chown(folder, uid, gid)
        make_answers_folder(self.answers)
        place = replace(self._place(image.tag, self._credentials()), nodes=nodes)
        progress(
            f"starting {many(len(plan.hosts), 'node')} as containers of project {self._project}"
        )
        subnets = offer_subnets(self._project, len(plan.hosts), host_routes(), _engine_subnets)
        for subnet in subnets:
            self._write(replace(place, subnet=str(subnet)))
            try:
                # A client that is cut off leaves containers that come into being later.
                with uninterrupted():
                    self._docker.compose.up(detach=True, quiet=True, pull="never")
            except DockerException as error:
                # Another stack took the same subnet since we looked.
                if _OVERLAPS in (error.stderr or ""):
                    continue
                raise StackError(f"Compose could not start the stack: {complaint(error)}") from None
            self._await_sides(progress)
            return
        raise StackError(f"no subnet of {POOL} is free", "metta-sandbox clean; docker network ls")

    def _await_sides(self, progress: Progress) -> None:
        """Wait until what is beside the nodes says that it does what it is for.

        Where one doesn't say so in time, it is killed: it must not seem to have been there from the
        start. What it is for can't be told then, but all else is played.
        """
        deadline = time.monotonic() + _SIDE_READY
        for sidecar, host in self._sidecars():
            name = container_name(self._project, sidecar.service(host))
            left = max(0.0, deadline - time.monotonic())
            said = first_line(["docker", "logs", "--follow", name], left)
            if not said.endswith("\n"):
                progress(f"the {sidecar.name} of {host} said nothing")
                with suppress(DockerException):
                    self._docker.container.kill(name)

    def _sidecars(self) -> list[tuple[SidecarService, str]]:
        return [(sidecar, host) for sidecar in self._plan.sidecars for host in self._plan.hosts]

    def preview(self) -> dict[str, Any]:
        """Say what every node will see; of a stack that is up, what it does see."""
        if self._file.exists():
            request = YAML(typ="safe", pure=True).load(self._file.read_text())
        else:
            request = self._request(self._place(f"{REPOSITORY}:TAG", self._plan.credentials))
        nodes = {}
        for host in self._plan.hosts:
            service = request["services"][host]
            nodes[host] = {
                "folder": service["working_dir"],
                "environment": dict(service["environment"]),
                "mounts": {
                    one["target"]: one["source"] + (" (read-only)" if one["read_only"] else "")
                    for one in service["volumes"]
                },
            }
        return {"nodes": nodes, "compose": request}

    def _place(self, image: str, credentials: tuple[Credential, ...]) -> Placement:
        with_templates = None if self._kept is None else self._plan.hosts[: self._kept]
        return Placement(
            project=self._project,
            image=image,
            user=f"{self._spec.user.uid}:{self._spec.user.gid}",
            agent=install(cache_folder("agents")),
            labels=self._owner.labels(),
            credentials=credentials,
            memory=node_memory(),
            container_inits=None
            if with_templates is None
            else ContainerInits(with_templates, _PYTHON),
        )

    def _request(self, place: Placement) -> dict[str, Any]:
        base = YAML(typ="safe", pure=True).load((compose_folder() / "compose.yaml").read_text())
        return compose_request(base, self._plan, place)

    def _write(self, place: Placement) -> None:
        with self._file.open("w") as file:
            yaml.dump(self._request(place), file, _DUMPER, default_flow_style=False, width=4096)

    def _credentials(self) -> tuple[Credential, ...]:
        plan = self._plan
        # Without capabilities the node user can read its own files alone; it is the caller, but
        # for a caller who is root.
        if not plan.credentials or os.geteuid() != 0:
            return plan.credentials
        owner = (self._spec.user.uid, self._spec.user.gid)
        if not plan.standing:
            watch_copies(plan.run)
        folder = memory_folder(plan.run, plan.scenario)
        return stage_credentials(plan.credentials, folder, owner)

    def connect(self) -> HubLink:
        """Connect to the hub."""
        hub = container_name(self._project, HUB)
        relay = [INTERPRETER, *PLAIN, AGENT, "relay", f"--hub={HUB_ADDRESS}"]
        return HubLink(["docker", "exec", "-i", hub, *relay])

    def service_environment(self, ready: Mapping[str, Any]) -> dict[str, str]:
        """Tell the nodes where the control plane is."""
        return control_plane(API, ready)

    @property
    def answers(self) -> Path:
        """Where the harness answers the stack's package index."""
        return answers_folder(self._plan.run, self._plan.scenario)

    def index_environment(self, ready: Mapping[str, Any]) -> dict[str, str]:
        """Tell the nodes where that is."""
        return index_environment(API, ready.get("packages_port"))

    def working_folder(self) -> str:
        """Return the folder in which commands start on a node."""
        return WORKSPACE if self._plan.source else RUN_FOLDER

    def containers(self) -> dict[str, str]:
        """Name the container of each node and service."""
        services = (*self._plan.hosts, API, HUB)
        return {service: container_name(self._project, service) for service in services}

    def fallen(self) -> dict[str, str]:
        """Say of each node and service that has ended how it did, and its last words."""
        names = self.containers()
        seen = states(names.values())
        ends = {}
        for service, name in names.items():
            state = seen[name]
            if state.problem:
                ends[service] = state.problem
            elif state.ended:
                said = last_words(tail(name, _LAST_LINES))
                status = container_status(state.exit_code)
                ends[service] = describe_end(status, said, out_of_memory=state.out_of_memory)
        return ends

    def start_again(self, host: str) -> None:
        """Start a node's container again."""
        try:
            self._docker.container.start(container_name(self._project, host))
        except DockerException as error:
            raise StackError(f"{host} could not be started again: {complaint(error)}") from None

    def power(self) -> ContainerPower:
        """Return what ends, freezes and limits its containers."""
        return ContainerPower(self, self._project)

    def disks(self) -> SidecarContainers:
        """Return the sidecars that fill the disks that nodes see."""
        return SidecarContainers(self._project, DISK)

    def network(self) -> SidecarContainers:
        """Return the sidecars that strike the network of containers."""
        return SidecarContainers(self._project, NETWORK)

    def end_sidecars(self) -> None:
        """End the plan's sidecars while the nodes are still there."""
        if services := [sidecar.service(host) for sidecar, host in self._sidecars()]:
            with suppress(DockerException):  # then all are stopped together, a moment later
                self._docker.compose.stop(services, timeout=5)

    def collect(self) -> None:
        """Write every container's whole log; unless the stack is standing, once all have ended.

        Raises:
            StackError: The engine was gone, for a while at least; the logs are written as far as
                they could be had.

        """
        if not self._file.exists():
            return
        folder = self._plan.folder
        logs = {
            service: folder / "logs" / f"{service}.log" for service in (*self._plan.hosts, API, HUB)
        }
        for sidecar, host in self._sidecars():
            logs[sidecar.service(host)] = folder / sidecar.output / f"{host}.jsonl"
        named = {container_name(self._project, service): path for service, path in logs.items()}
        outage = "" if self._plan.standing else self._stop(named)
        write_logs(named)
        if outage:
            raise StackError(f"the Docker engine went away: {outage}")

    def _stop(self, names: Collection[str]) -> str:
        """Stop all containers, whose last words belong to the log; wait for an engine that is gone.

        All have been told to end. An engine that starts again still has their logs.

        Returns:
            What the engine said while it was gone; usually nothing.

        """
        outage = ""
        deadline = time.monotonic() + _ENGINE_BACK
        while time.monotonic() < deadline and (said := stop(names, _STOPPING)):
            outage = said
            time.sleep(_LOOK)
        return outage

    def down(self) -> None:
        """Stop and remove containers and network."""
        if self._plan.credentials:
            remove_copies(self._plan.run, self._plan.scenario)
        remove_answers(self._plan.run, self._plan.scenario)
        if not self._file.exists():
            return
        try:
            self._docker.compose.down(timeout=2, volumes=True, remove_orphans=True, quiet=True)
        except DockerException as error:
            raise StackError(
                f"Compose could not remove the stack: {complaint(error)}", "metta-sandbox clean"
            ) from None

    def describe(self) -> dict[str, Any]:
        """Return the Compose project, and what its image is."""
        return {"project": self._project, "image": self._image}


def _engine_subnets() -> list[IPv4Network]:
    """List the subnets of all networks of the engine."""
    ids = docker("network", "ls", "--quiet").stdout.split()
    # One that is gone by now is left out.
    return read_subnets(docker("network", "inspect", *SUBNETS, *ids).stdout)
