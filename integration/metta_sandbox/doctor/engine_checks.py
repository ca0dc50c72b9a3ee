"""What the engine must be and have. Pure: from what was read to lines of the report."""

from __future__ import annotations

from metta_sandbox.doctor import mend
from metta_sandbox.doctor.item import MachineFinding, Status
from metta_sandbox.doctor.machine import Machine
from metta_sandbox.doctor.probe import ProbeError
from metta_sandbox.doctor.read_engine import EngineFailure, EngineVersion, NoEngineError
from metta_sandbox.errors import MachineError
from metta_sandbox.image.node_platform import NodePlatform
from metta_sandbox.stack.engines.compose.subnet import POOL, free_subnets

GB = 10**9
#: The oldest interface tried: Docker 20.10's.
OLDEST_API = (1, 41)
#: What base and node image, BuildKit's cache and the build itself take; and a built one's runs.
DISK_TO_BUILD, DISK_TO_RUN = 4 * GB, GB
#: Two nodes of the bundled trainer take 1.5 GB at their peak.
MEMORY_NEEDED, MEMORY_COMFORTABLE = 2 * GB, 4 * GB
SHARED_MEMORY = 2 * 2**30
#: Seconds.
LARGEST_SKEW = 1.0
#: So many runs side by side are promised.
NETWORKS_WANTED = 8


def engine(machine: Machine) -> MachineFinding:
    """Judge whether an engine answers, and which."""
    try:
        found = machine.engine()
    except NoEngineError as error:
        if error.failure is EngineFailure.DENIED:
            return MachineFinding(Status.UNKNOWN, "needs access")
        shown = f"{error.failure.value} ({error.words})" if error.words else error.failure.value
        return MachineFinding(Status.MISSING, shown, mend.engine(machine.host, error.failure))
    except ProbeError as error:
        return MachineFinding(
            Status.MISSING, str(error), mend.engine(machine.host, EngineFailure.SILENT)
        )
    return _version(found)


def _version(found: EngineVersion) -> MachineFinding:
    shown = f"{found.product} {found.version}, API {found.api}".removeprefix("Engine ")
    if found.system != "linux":
        shown += f", {found.system} containers"
        return MachineFinding(Status.MISSING, shown, "switch Docker to Linux containers")
    if tuple(int(part) for part in found.api.split(".")) < OLDEST_API:
        return MachineFinding(Status.WARNING, shown, "https://docs.docker.com/engine/install")
    if found.product != "Engine":
        return MachineFinding(Status.WARNING, f"{shown}: not Docker's own, not tried")
    return MachineFinding(Status.OK, shown)


def access(machine: Machine) -> MachineFinding | None:
    """Judge whether this user may talk to the engine; None where there is none to talk to."""
    host = machine.host
    try:
        machine.engine()
    except NoEngineError as error:
        if error.failure is not EngineFailure.DENIED:
            return None
        shown = f"{error.failure.value} ({error.words})"
        return MachineFinding(Status.MISSING, shown, mend.engine(host, error.failure))
    except ProbeError:
        return None
    who = "root" if host.root else f"user {host.user}"
    if not host.root and "docker" in host.groups:
        who += " of group docker"
    try:
        where = _scheme(machine.endpoint())
    except ProbeError:
        where = ""
    return MachineFinding(Status.OK, f"{who} by {where}" if where else who)


def _scheme(endpoint: str) -> str:
    # An address may hold a user's name, or more.
    scheme, separator, rest = endpoint.partition("://")
    return endpoint if scheme == "unix" else f"{scheme}{separator}{rest.rpartition('@')[2]}"


def compose(machine: Machine) -> MachineFinding:
    """Judge Compose."""
    version = machine.compose()
    cure = mend.compose(machine.host)
    if not version:
        old = ", only docker-compose v1" if "docker-compose" in machine.host.programs else ""
        return MachineFinding(Status.MISSING, f"no Compose plugin{old}", cure)
    if version.startswith(("0.", "1.")):
        return MachineFinding(Status.MISSING, version, cure)
    return MachineFinding(Status.OK, version)


def buildkit(machine: Machine) -> MachineFinding:
    """Judge whether images can be built with BuildKit."""
    problem = machine.buildkit()
    if not problem:
        return MachineFinding(Status.OK, "a test build succeeded")
    off = (machine.host.environ or {}).get("DOCKER_BUILDKIT") == "0"
    cure = "unset DOCKER_BUILDKIT" if off else mend.compose(machine.host)
    status = Status.WARNING if machine.image_is_built else Status.MISSING
    return MachineFinding(status, f"a test build failed: {problem}", cure)


def disk(machine: Machine) -> MachineFinding:
    """Judge the free disk where the engine keeps images."""
    free, built = machine.disk_free(), machine.image_is_built
    shown = f"{free / GB:.1f} GB free where images are kept"
    if free >= (DISK_TO_RUN if built else DISK_TO_BUILD):
        return MachineFinding(Status.OK, shown)
    status = Status.WARNING if built else Status.MISSING
    return MachineFinding(status, shown, "docker system prune")


def memory(machine: Machine) -> MachineFinding:
    """Judge the memory of the engine's machine."""
    found = machine.info().memory
    shown = f"{found / GB:.1f} GB"
    if found >= MEMORY_COMFORTABLE:
        return MachineFinding(Status.OK, shown)
    status = Status.WARNING if found >= MEMORY_NEEDED else Status.MISSING
    return MachineFinding(status, shown, "give the engine's machine more")


def networks(machine: Machine) -> MachineFinding:
    """Judge how many stacks' networks there is room for."""
    distinct = {network for network in machine.networks() if network.overlaps(POOL)}
    room = sum(1 for _ in free_subnets("", 2, distinct))
    shown = f"room for {room} stacks of two nodes"
    if room >= NETWORKS_WANTED:
        return MachineFinding(Status.OK, shown)
    status = Status.WARNING if room else Status.MISSING
    largest = max(distinct, key=lambda network: network.num_addresses)
    shown += f"; {largest} takes most of it"
    return MachineFinding(status, shown, "metta-sandbox clean; docker network prune")


def nfqueue(machine: Machine) -> MachineFinding:
    """Judge whether the kernel hands packets over, which every fault of the network needs."""
    state = machine.inside().nfqueue
    if state == "present":
        return MachineFinding(Status.OK, "the kernel has it")
    if state != "absent":
        return MachineFinding(Status.UNKNOWN, state)
    cure = mend.module(machine.host, here=machine.info().here)
    return MachineFinding(Status.WARNING, "the kernel does not have it", cure)


def clock(machine: Machine) -> MachineFinding:
    """Judge whether this machine and the engine agree on the time."""
    info = machine.info()
    shown = f"{info.skew:.1f} s apart"
    if info.skew < LARGEST_SKEW:
        return MachineFinding(Status.OK, shown)
    return MachineFinding(Status.WARNING, shown, mend.clock(machine.host, here=info.here))


def architecture(machine: Machine) -> MachineFinding:
    """Judge whether there are wheels for the engine's machine."""
    info = machine.info()
    shown = f"{info.architecture}, {info.distribution}, kernel {info.kernel}"
    try:
        NodePlatform.of_engine(info.architecture)
    except MachineError as error:
        return MachineFinding(Status.MISSING, shown, error.hint)
    return MachineFinding(Status.OK, shown)


def cgroup(machine: Machine) -> MachineFinding:
    """Judge whether nodes can be given limits."""
    info = machine.info()
    shown = f"version {info.cgroup}{', rootless' if info.rootless else ''}"
    if info.limits_memory:
        return MachineFinding(Status.OK, f"{shown}, with memory limits")
    cure = "boot the engine's machine with cgroup_enable=memory (rootless: with cgroup v2)"
    return MachineFinding(Status.WARNING, f"{shown}, without memory limits", cure)


def shared_memory(machine: Machine) -> MachineFinding:
    """Judge the shared memory that a container gets."""
    size = machine.inside().shared_memory
    if size is None:
        return MachineFinding(Status.UNKNOWN, "no image to look from yet")
    shown = f"{size / 2**30:.1f} GiB"
    if size >= SHARED_MEMORY:
        return MachineFinding(Status.OK, shown)
    return MachineFinding(Status.WARNING, shown, "an engine that honours --shm-size")


def base_image(machine: Machine) -> MachineFinding:
    """Judge the base image."""
    if base := machine.images().base:
        return MachineFinding(Status.OK, base)
    try:
        problem = machine.registry()
    except ProbeError as error:
        problem = str(error)
    if not problem:
        return MachineFinding(Status.OK, "not here; it can be pulled, and the first run will")
    if "mmdebstrap" in machine.host.programs:
        return MachineFinding(Status.OK, "not here; mmdebstrap can make one, in about 40 s")
    shown = f"not here, can't be pulled ({problem}), and there is no mmdebstrap to make one"
    return MachineFinding(Status.MISSING, shown, mend.mmdebstrap(machine.host))


def node_image(machine: Machine) -> MachineFinding:
    """Judge the node image, which the first run builds."""
    images = machine.images()
    if images.built:
        return MachineFinding(Status.OK, images.node)
    return MachineFinding(Status.OK, "not built yet; the first run does, in a minute or more")
