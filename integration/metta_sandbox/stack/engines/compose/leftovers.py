"""What a run has left on an engine: what there is, and how it is removed."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

from python_on_whales import DockerClient
from python_on_whales.exceptions import DockerException

from metta_sandbox.errors import StackError
from metta_sandbox.stack.credentials import remove_copies
from metta_sandbox.stack.engines.compose.containers import complaint, docker
from metta_sandbox.stack.lease import KEYS, LABEL, Owner
from metta_sandbox.stack.lost import RunTraces

#: What carries labels, how an engine's client lists it, and what removes it.
_KINDS = {
    "container": (["--all"], "docker rm --force --volumes"),
    "network": ([], "docker network rm"),
    "volume": ([], "docker volume rm"),
}
#: Seconds within which an engine removes what somebody else is at, too.
_REMOVED = 10.0
_LOOK = 0.2


def remove_containers(run: str) -> None:
    """Remove every container, network and volume of a run, by its label.

    Raises:
        StackError: The engine refuses.

    """
    remove_copies(run)
    deadline = time.monotonic() + _REMOVED
    while True:
        try:
            # Until nothing is found: some may come into being while others are removed.
            if not _remove_found(run):
                return
        except DockerException as error:
            # Somebody else may be removing the same, or has just done so.
            if time.monotonic() > deadline:
                raise StackError(
                    f"what the run {run} left could not be removed: {complaint(error)}",
                    "metta-sandbox clean",
                ) from None
            time.sleep(_LOOK)


def _remove_found(run: str) -> bool:
    """Remove the containers, networks and volumes of a run; tell whether there were any."""
    engine = DockerClient()
    containers = engine.container.list(all=True, filters=[("label", f"{LABEL}.run={run}")])
    if containers:
        engine.container.remove(containers, force=True, volumes=True)
    networks = engine.network.list(filters=[("label", f"{LABEL}.run={run}")])
    for network in networks:
        # Somebody's own container may have joined it.
        for guest in network.containers or {}:
            engine.network.disconnect(network, guest, force=True)
        engine.network.remove(network)
    volumes = engine.volume.list(filters=[("label", f"{LABEL}.run={run}")])
    for volume in volumes:
        engine.volume.remove(volume)
    return bool(containers or networks or volumes)


def made_on_engine() -> dict[str, RunTraces]:
    """Find what there is in the engine, by run."""
    made: dict[str, RunTraces] = {}
    with ThreadPoolExecutor(len(_KINDS)) as pool:
        for kind, lines in zip(_KINDS, pool.map(_listed, _KINDS), strict=True):
            for line in lines:
                name, status, *values = json.loads(line)
                labels = {f"{LABEL}.{key}": value for key, value in zip(KEYS, values, strict=True)}
                owner = Owner.of_labels(labels)
                found = made.setdefault(owner.run, RunTraces(owner))
                found.things[_KINDS[kind][1]].append(name)
                found.running |= status.startswith("Up")
                if not found.owner.pid:  # somebody's own, beside the run's
                    found.owner = owner
    return made


def _listed(kind: str) -> list[str]:
    about = ("{{json .Names}}", "{{json .Status}}")
    if kind != "container":
        about = ("{{json .Name}}", '""')
    fields = ",".join([*about, *(f'{{{{json (.Label "{LABEL}.{key}")}}}}' for key in KEYS)])
    labelled = f"--filter=label={LABEL}.run"
    said = docker(kind, "ls", *_KINDS[kind][0], labelled, f"--format=[{fields}]")
    # An engine that is gone has nothing that could be removed now.
    return said.stdout.splitlines() if said.returncode == 0 else []
