"""What the engine must be and have. Pure: from what was read to lines of the report."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network

from metta_sandbox.doctor import mend
from metta_sandbox.doctor.item import Item, Status, Unknown
from metta_sandbox.doctor.read_engine import Engine, Failure, Images, Info, Inside, NoEngine
from metta_sandbox.doctor.read_host import Host
from metta_sandbox.errors import MachineError
from metta_sandbox.image.base_image import DEFAULT_BASE_IMAGE
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
LARGEST_SKEW = 1.0
#: So many runs side by side are promised.
NETWORKS_WANTED = 8

_ACCESS = "a user who may talk to the engine"


def engine(found: Engine | NoEngine | Unknown, host: Host) -> Item:
    """Judge whether an engine answers, and which."""
    name, needed = "engine", "Docker 20.10 or newer, with Linux containers"
    if isinstance(found, Unknown):
        return Item(name, Status.MISSING, found.reason, needed, mend.engine(host, Failure.SILENT))
    if isinstance(found, NoEngine):
        if found.failure is Failure.DENIED:
            return Item(name, Status.UNKNOWN, "needs access", needed)
        words = f"{found.failure.value} ({found.words})" if found.words else found.failure.value
        return Item(name, Status.MISSING, words, needed, mend.engine(host, found.failure))
    return _version(found, name, needed)


def _version(found: Engine, name: str, needed: str) -> Item:
    shown = f"{found.product} {found.version}, API {found.api}".removeprefix("Engine ")
    if found.system != "linux":
        shown += f", {found.system} containers"
        return Item(name, Status.MISSING, shown, needed, "switch Docker to Linux containers")
    if tuple(int(part) for part in found.api.split(".")) < OLDEST_API:
        return Item(name, Status.WARNING, shown, needed, "https://docs.docker.com/engine/install")
    if found.product != "Engine":
        return Item(name, Status.WARNING, f"{shown}: not Docker's own, not tried", needed)
    return Item(name, Status.OK, shown, needed)


def access(found: Engine | NoEngine | Unknown, endpoint: str | Unknown, host: Host) -> Item | None:
    """Judge whether this user may talk to the engine; None where there is none to talk to."""
    if isinstance(found, NoEngine) and found.failure is Failure.DENIED:
        words = f"{found.failure.value} ({found.words})"
        return Item("access", Status.MISSING, words, _ACCESS, mend.engine(host, found.failure))
    if not isinstance(found, Engine):
        return None
    who = "root" if host.root else f"user {host.user}"
    if not host.root and "docker" in host.groups:
        who += " of group docker"
    where = "" if isinstance(endpoint, Unknown) or not endpoint else f" by {_scheme(endpoint)}"
    return Item("access", Status.OK, f"{who}{where}", _ACCESS)


def _scheme(endpoint: str) -> str:
    # An address may hold a user's name, or more.
    scheme, _, rest = endpoint.partition("://")
    return endpoint if scheme == "unix" else f"{scheme}://{rest.rpartition('@')[2]}"


def compose(version: str | Unknown, host: Host) -> Item:
    """Judge Compose."""
    name, needed = "compose", "Compose 2 or newer, as a plugin of docker"
    if isinstance(version, Unknown):
        return Item.unknown(name, version, needed)
    if not version:
        old = ", only docker-compose v1" if "docker-compose" in host.programs else ""
        return Item(name, Status.MISSING, f"no Compose plugin{old}", needed, mend.compose(host))
    if version.startswith(("0.", "1.")):
        return Item(name, Status.MISSING, version, needed, mend.compose(host))
    return Item(name, Status.OK, version, needed)


def buildkit(problem: str | Unknown, images: Images | Unknown, host: Host) -> Item:
    """Judge whether images can be built with BuildKit."""
    name, needed = "buildkit", "builds the node image (RUN --mount)"
    if isinstance(problem, Unknown):
        return Item.unknown(name, problem, needed)
    if not problem:
        return Item(name, Status.OK, "a test build succeeded", needed)
    off = (host.environ or {}).get("DOCKER_BUILDKIT") == "0"
    cure = "unset DOCKER_BUILDKIT" if off else mend.compose(host)
    built = isinstance(images, Images) and images.built
    status = Status.WARNING if built else Status.MISSING
    return Item(name, status, f"a test build failed: {problem}", needed, cure)


def disk(free: int | Unknown, images: Images | Unknown) -> Item:
    """Judge the free disk where the engine keeps images."""
    built = isinstance(images, Images) and images.built
    wanted = DISK_TO_RUN if built else DISK_TO_BUILD
    why = "the node image is built" if built else "to build the node image"
    needed = f"{wanted / GB:g} GB free: {why}"
    if isinstance(free, Unknown):
        return Item.unknown("disk", free, needed)
    shown = f"{free / GB:.1f} GB free where images are kept"
    if free >= wanted:
        return Item("disk", Status.OK, shown, needed)
    status = Status.WARNING if built else Status.MISSING
    return Item("disk", status, shown, needed, "docker system prune")


def memory(info: Info | Unknown) -> Item:
    """Judge the memory of the engine's machine."""
    name = "engine memory"
    needed = f"{MEMORY_COMFORTABLE / GB:g} GB: two nodes take 1.5 GB, each further one 0.7 GB"
    if isinstance(info, Unknown):
        return Item.unknown(name, info, needed)
    shown = f"{info.memory / GB:.1f} GB"
    if info.memory >= MEMORY_COMFORTABLE:
        return Item(name, Status.OK, shown, needed)
    status = Status.WARNING if info.memory >= MEMORY_NEEDED else Status.MISSING
    return Item(name, status, shown, needed, "give the engine's machine more")


def networks(taken: Sequence[IPv4Network] | Unknown) -> Item:
    """Judge how many stacks' networks there is room for."""
    needed = f"room in {POOL} for {NETWORKS_WANTED} stacks' networks"
    if isinstance(taken, Unknown):
        return Item.unknown("networks", taken, needed)
    distinct = {network for network in taken if network.overlaps(POOL)}
    room = sum(1 for _ in free_subnets("", 2, distinct))
    shown = f"room for {room} stacks of two nodes"
    if room >= NETWORKS_WANTED:
        return Item("networks", Status.OK, shown, needed)
    status = Status.WARNING if room else Status.MISSING
    largest = max(distinct, key=lambda network: network.num_addresses)
    shown += f"; {largest} takes most of it"
    return Item("networks", status, shown, needed, "metta-sandbox clean; docker network prune")


def features(inside: Inside | Unknown, info: Info | Unknown, host: Host) -> list[Item]:
    """Judge the kernel's traffic control and packet queues."""
    uses = {
        "netem": "sch_netem, for loss, delay and jitter",
        "nfqueue": "NFQUEUE, for delays where there is no netem",
        "tbf": "sch_tbf, for limits of bandwidth",
    }
    if isinstance(inside, Unknown):
        return [Item.unknown(name, inside, use) for name, use in uses.items()]
    here = isinstance(info, Info) and info.here
    return [_feature(name, use, inside, mend.module(host, here=here)) for name, use in uses.items()]


def _feature(name: str, use: str, inside: Inside, cure: str) -> Item:
    state = inside.features.get(name, "it was not tried")
    if state == "present":
        return Item(name, Status.OK, "the kernel has it", use)
    if state != "absent":
        return Item(name, Status.UNKNOWN, state, use)
    shown = "the kernel does not have it"
    if name == "netem" and inside.features.get("nfqueue") == "present":
        shown += "; delays go through NFQUEUE"
    if name == "nfqueue" and inside.features.get("netem") == "present":
        return Item(name, Status.OK, f"{shown}, and netem makes up for it", use)
    return Item(name, Status.WARNING, shown, use, cure)


def clock(info: Info | Unknown, host: Host) -> Item:
    """Judge whether this machine and the engine agree on the time."""
    needed = f"less than {LARGEST_SKEW:g} s between this machine and the engine"
    if isinstance(info, Unknown):
        return Item.unknown("clock", info, needed)
    shown = f"{info.skew:.1f} s apart"
    if info.skew < LARGEST_SKEW:
        return Item("clock", Status.OK, shown, needed)
    return Item("clock", Status.WARNING, shown, needed, mend.clock(host, here=info.here))


def architecture(info: Info | Unknown) -> Item:
    """Judge whether there are wheels for the engine's machine."""
    name, needed = "architecture", "x86_64 or aarch64"
    if isinstance(info, Unknown):
        return Item.unknown(name, info, needed)
    shown = f"{info.architecture}, {info.distribution}, kernel {info.kernel}"
    try:
        NodePlatform.of_engine(info.architecture)
    except MachineError as error:
        return Item(name, Status.MISSING, shown, needed, error.hint)
    return Item(name, Status.OK, shown, needed)


def cgroup(info: Info | Unknown) -> Item:
    """Judge whether nodes can be given limits."""
    needed = "memory limits, for nodes that run out of memory"
    if isinstance(info, Unknown):
        return Item.unknown("cgroup", info, needed)
    shown = f"version {info.cgroup}{', rootless' if info.rootless else ''}"
    if info.limits_memory:
        return Item("cgroup", Status.OK, f"{shown}, with memory limits", needed)
    cure = "boot the engine's machine with cgroup_enable=memory (rootless: with cgroup v2)"
    return Item("cgroup", Status.WARNING, f"{shown}, without memory limits", needed, cure)


def shared_memory(inside: Inside | Unknown) -> Item:
    """Judge the shared memory that a container gets."""
    name, needed = "shared memory", "2 GiB in a node, for data loaders"
    if isinstance(inside, Unknown):
        return Item.unknown(name, inside, needed)
    if inside.shared_memory is None:
        return Item(name, Status.UNKNOWN, "no image to look from yet", needed)
    shown = f"{inside.shared_memory / 2**30:.1f} GiB"
    if inside.shared_memory >= SHARED_MEMORY:
        return Item(name, Status.OK, shown, needed)
    return Item(name, Status.WARNING, shown, needed, "an engine that honours --shm-size")


def base_image(images: Images | Unknown, registry: str | Unknown | None, host: Host) -> Item:
    """Judge the base image; ``registry`` is why it can't be pulled, or None if nobody asked."""
    name, needed = "base image", f"{DEFAULT_BASE_IMAGE}, or one made from packages in its place"
    if isinstance(images, Unknown):
        return Item.unknown(name, images, needed)
    if images.base:
        return Item(name, Status.OK, images.base, needed)
    if registry == "":
        return Item(name, Status.OK, "not here; it can be pulled, and the first run will", needed)
    if "mmdebstrap" in host.programs:
        return Item(name, Status.OK, "not here; mmdebstrap can make one, in about 40 s", needed)
    why = registry.reason if isinstance(registry, Unknown) else registry
    shown = f"not here, can't be pulled ({why}), and there is no mmdebstrap to make one"
    return Item(name, Status.MISSING, shown, needed, mend.mmdebstrap(host))


def node_image(images: Images | Unknown) -> Item:
    """Judge the node image, which the first run builds."""
    name, needed = "node image", "built from base image, packages and this version of the sandbox"
    if isinstance(images, Unknown):
        return Item.unknown(name, images, needed)
    if images.built:
        return Item(name, Status.OK, images.node, needed)
    return Item(name, Status.OK, "not built yet; the first run does, in a minute or more", needed)
