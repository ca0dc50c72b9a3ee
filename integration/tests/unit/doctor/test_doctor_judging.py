from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest

from metta_sandbox.doctor import judge
from metta_sandbox.doctor.item import NEEDS_AN_ENGINE, DoctorItem, DoctorReport, Status
from metta_sandbox.doctor.machine import Machine
from metta_sandbox.doctor.probe import ProbeError
from metta_sandbox.doctor.read_engine import (
    EngineFailure,
    EngineInfo,
    EngineVersion,
    ImagesFound,
    Inside,
    NoEngineError,
)
from metta_sandbox.doctor.read_host import Host, Memory, Packages, PythonFound, StackReading
from metta_sandbox.stack.engines.compose.subnet import POOL

GB = 10**9
OK, WARNING, MISSING, UNKNOWN = Status.OK, Status.WARNING, Status.MISSING, Status.UNKNOWN
WHY = ProbeError("the dog ate it")

DEBIAN = Host(family="debian", user="ada")
UBUNTU = Host(family="ubuntu", root=True, systemd=True)
ENGINE = EngineVersion("27.3.1", "1.47", "linux", "Engine")
INFO = EngineInfo(
    architecture="x86_64",
    distribution="Ubuntu 24.04",
    kernel="6.8",
    memory=16 * GB,
    cgroup="2",
    limits_memory=True,
    root="/var/lib/docker",
    rootless=False,
    here=True,
    skew=0.0,
)
ABSENT, UNBUILT = ImagesFound(""), ImagesFound("base", "node:1")
BUILT = ImagesFound("base", "node:1", built=True)
INSIDE = Inside("present", 50 * GB, 2 * 2**30)
PACKAGES = Packages(False, "pip", ("https://pypi.org",))
PYTHON = PythonFound("3.11.7", False, "/usr/bin/python3.11")
#: What is read of an engine that lacks nothing, and of a host, by what of ``Machine`` gives it.
ON_ENGINE: dict[str, Any] = {
    "engine": ENGINE,
    "endpoint": "unix:///var/run/docker.sock",
    "info": INFO,
    "compose": "2.40.3",
    "buildkit": "",
    "disk_free": 50 * GB,
    "networks": [],
    "images": BUILT,
    "inside": INSIDE,
    "registry": "",
}
ON_HOST: dict[str, Any] = {
    "packages": PACKAGES,
    "python": PYTHON,
    "stacks": StackReading("/usr/bin/python3.11"),
    "memory": Memory(16 * GB, 12 * GB),
}


def giving(value: Any) -> Callable[[], Any]:
    """Read a value, or fail with it."""

    def read() -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    return read


def judged(host: Host = DEBIAN, **readings: Any) -> DoctorReport:
    """Judge a machine that is healthy but for these readings."""
    told = {**ON_ENGINE, **ON_HOST, **readings}
    return judge(Machine(host=host, **{name: giving(value) for name, value in told.items()}))


def line(name: str, host: Host = DEBIAN, **readings: Any) -> DoctorItem:
    return next(item for item in judged(host, **readings).items if item.name == name)


def missing(report: DoctorReport) -> list[str]:
    return [item.name for item in report.items if item.status is MISSING]


def without_engine(failure: EngineFailure, words: str = "") -> DoctorReport:
    return judged(DEBIAN, **dict.fromkeys(ON_ENGINE, NoEngineError(failure, words)))


@pytest.mark.parametrize(
    ("found", "status", "shown", "cure"),
    [
        (ENGINE, OK, "27.3.1, API 1.47", ""),
        (
            EngineVersion("19.03", "1.40", "linux", "Engine"),
            WARNING,
            "19.03, API 1.40",
            "docs.docker.com",
        ),
        (
            EngineVersion("5.0", "1.41", "linux", "Podman Engine"),
            WARNING,
            "Podman Engine 5.0, API 1.41: not Docker's own, not tried",
            "",
        ),
        (
            EngineVersion("27.0", "1.46", "windows", "Engine"),
            MISSING,
            "windows containers",
            "switch Docker to Linux containers",
        ),
        (
            NoEngineError(EngineFailure.NO_CLIENT),
            MISSING,
            "no Docker client",
            "sudo apt-get install -y docker",
        ),
        (
            NoEngineError(EngineFailure.DOWN, "refused"),
            MISSING,
            "(refused)",
            "sudo service docker start",
        ),
        (
            NoEngineError(EngineFailure.SILENT, "3 s"),
            MISSING,
            "does not answer (3 s)",
            "service docker restart",
        ),
        (NoEngineError(EngineFailure.DENIED, "denied"), UNKNOWN, "needs access", ""),
        (WHY, MISSING, str(WHY), "restart"),
    ],
)
def test_engine(found: object, status: Status, shown: str, cure: str) -> None:
    item = line("engine", engine=found)
    assert item.status is status
    assert shown in item.found
    assert cure in item.mend
    assert bool(cure) == bool(item.mend)


@pytest.mark.parametrize(
    ("host", "failure", "command"),
    [
        (UBUNTU, EngineFailure.DOWN, "systemctl start docker"),
        (Host(family="macos"), EngineFailure.DOWN, "open -a Docker"),
        (Host(family="fedora"), EngineFailure.NO_CLIENT, "sudo dnf install -y moby-engine"),
        (Host(), EngineFailure.NO_CLIENT, "https://docs.docker.com/engine/install"),
        (
            Host(environ={"DOCKER_HOST": "tcp://bob:hunter2@far:2376"}),
            EngineFailure.DOWN,
            "see that DOCKER_HOST (tcp://…) is right, or: unset DOCKER_HOST",
        ),
    ],
)
def test_an_engine_is_mended_as_this_distribution_does(
    host: Host, failure: EngineFailure, command: str
) -> None:
    assert line("engine", host, engine=NoEngineError(failure)).mend == command


def test_access() -> None:
    denied = line("access", engine=NoEngineError(EngineFailure.DENIED, "permission denied"))
    assert denied.status is MISSING
    assert denied.mend.startswith("sudo usermod -aG docker ada")
    member = replace(DEBIAN, groups=("ada", "docker"))
    granted = line("access", member, endpoint="ssh://bob@far")
    assert granted.status is OK
    assert granted.found == "user ada of group docker by ssh://far"
    assert line("access", UBUNTU, endpoint=WHY).found == "root"
    assert "access" not in {item.name for item in without_engine(EngineFailure.DOWN).items}


@pytest.mark.parametrize(
    ("version", "host", "status", "shown", "cure"),
    [
        ("2.40.3", DEBIAN, OK, "2.40.3", ""),
        ("5.0.0", DEBIAN, OK, "5.0.0", ""),
        ("1.29.2", DEBIAN, MISSING, "1.29.2", "cli-plugins/docker-compose"),
        ("", UBUNTU, MISSING, "no Compose plugin", "apt-get install -y docker-compose-v2"),
        ("", Host(programs=("docker-compose",)), MISSING, "only docker-compose v1", "https://"),
        (WHY, DEBIAN, UNKNOWN, str(WHY), ""),
    ],
)
def test_compose(version: object, host: Host, status: Status, shown: str, cure: str) -> None:
    item = line("compose", host, compose=version)
    assert item.status is status
    assert shown in item.found
    assert cure in item.mend
    assert bool(cure) == bool(item.mend)


@pytest.mark.parametrize(
    ("problem", "images", "host", "status", "cure"),
    [
        ("", UNBUILT, DEBIAN, OK, ""),
        ("no space", UNBUILT, DEBIAN, MISSING, "cli-plugins"),
        ("no space", WHY, DEBIAN, MISSING, "cli-plugins"),
        ("no space", BUILT, DEBIAN, WARNING, "cli-plugins"),
        (
            "the --mount option requires BuildKit",
            UNBUILT,
            Host(environ={"DOCKER_BUILDKIT": "0"}),
            MISSING,
            "unset DOCKER_BUILDKIT",
        ),
        (WHY, BUILT, DEBIAN, UNKNOWN, ""),
    ],
)
def test_buildkit(problem: object, images: object, host: Host, status: Status, cure: str) -> None:
    item = line("buildkit", host, buildkit=problem, images=images)
    assert item.status is status
    assert cure in item.mend
    if status in (MISSING, WARNING):
        assert str(problem) in item.found


@pytest.mark.parametrize(
    ("free", "images", "status"),
    [
        (4 * GB, UNBUILT, OK),
        (4 * GB - 1, UNBUILT, MISSING),
        (4 * GB - 1, WHY, MISSING),
        (GB, BUILT, OK),
        (GB - 1, BUILT, WARNING),
        (WHY, BUILT, UNKNOWN),
    ],
)
def test_disk_is_wanted_for_what_is_still_to_be_built(
    free: object, images: object, status: Status
) -> None:
    item = line("disk", disk_free=free, images=images)
    assert item.status is status
    assert bool(item.mend) == (status in (MISSING, WARNING))


@pytest.mark.parametrize(
    ("memory", "status"), [(4 * GB, OK), (4 * GB - 1, WARNING), (2 * GB - 1, MISSING)]
)
def test_engine_memory(memory: int, status: Status) -> None:
    item = line("engine memory", info=replace(INFO, memory=memory))
    assert item.status is status
    assert bool(item.mend) == (status is not OK)


@pytest.mark.parametrize(
    ("taken", "status", "shown"),
    [
        ([], OK, "room for 8192 stacks"),
        (["172.17.0.0/16", "192.168.0.0/16"], OK, "room for 8192 stacks"),
        (["10.213.0.0/17", "10.213.0.0/17"], OK, "room for 4096 stacks"),
        (["10.0.0.0/8"], MISSING, "room for 0 stacks of two nodes; 10.0.0.0/8 takes most of it"),
        (
            # All but the last 32 addresses.
            [str(one) for one in POOL.address_exclude(IPv4Network("10.213.255.224/27"))],
            WARNING,
            "room for 4 stacks",
        ),
    ],
)
def test_networks(taken: list[str], status: Status, shown: str) -> None:
    item = line("networks", networks=[IPv4Network(subnet) for subnet in taken])
    assert item.status is status
    assert shown in item.found
    assert bool(item.mend) == (status is not OK)


def nfqueue(state: str, host: Host = DEBIAN, info: EngineInfo = INFO) -> DoctorItem:
    return line("nfqueue", host, info=info, inside=replace(INSIDE, nfqueue=state))


def test_faults_of_the_network_need_the_kernel_s_queue() -> None:
    assert nfqueue("present").status is OK
    absent = nfqueue("absent")
    assert absent.status is WARNING
    assert "faults of the network" in absent.needed
    assert absent.mend


def test_modules_are_installed_where_the_engine_s_kernel_is_this_one() -> None:
    here = nfqueue("absent", UBUNTU)
    assert here.mend == "apt-get install -y linux-modules-extra-$(uname -r)"
    assert "apt-get" not in nfqueue("absent", UBUNTU, replace(INFO, here=False)).mend


def test_a_feature_that_could_not_be_tried_is_unknown_with_the_reason() -> None:
    item = nfqueue("Operation not permitted")
    assert (item.status, item.found) == (UNKNOWN, "Operation not permitted")
    nothing = line("nfqueue", inside=WHY)
    assert (nothing.status, nothing.found) == (UNKNOWN, str(WHY))


def test_clock() -> None:
    assert line("clock", UBUNTU, info=replace(INFO, skew=0.99)).status is OK
    off = line("clock", UBUNTU, info=replace(INFO, skew=1.0))
    assert (off.status, off.mend) == (WARNING, "timedatectl set-ntp true")
    afar = line("clock", UBUNTU, info=replace(INFO, skew=3600.0, here=False))
    assert afar.found == "3600.0 s apart"
    assert "engine's machine" in afar.mend


def test_architecture() -> None:
    assert line("architecture", info=replace(INFO, architecture="aarch64")).status is OK
    item = line("architecture", info=replace(INFO, architecture="riscv64"))
    assert item.status is MISSING
    assert "DOCKER_HOST" in item.mend


def test_cgroup() -> None:
    assert line("cgroup").found == "version 2, with memory limits"
    item = line("cgroup", info=replace(INFO, cgroup="1", rootless=True, limits_memory=False))
    assert item.status is WARNING
    assert item.found == "version 1, rootless, without memory limits"


@pytest.mark.parametrize(
    ("size", "status"), [(2 * 2**30, OK), (64 * 2**20, WARNING), (None, UNKNOWN)]
)
def test_shared_memory(size: int | None, status: Status) -> None:
    assert line("shared memory", inside=replace(INSIDE, shared_memory=size)).status is status


MMDEBSTRAP = replace(DEBIAN, programs=("mmdebstrap",))


@pytest.mark.parametrize(
    ("images", "registry", "host", "status", "shown"),
    [
        (UNBUILT, "", DEBIAN, OK, "base"),
        (ABSENT, "", DEBIAN, OK, "can be pulled"),
        (ABSENT, "no such host", MMDEBSTRAP, OK, "mmdebstrap can make one"),
        (ABSENT, WHY, MMDEBSTRAP, OK, "mmdebstrap can make one"),
        (ABSENT, "no such host", DEBIAN, MISSING, "can't be pulled (no such host)"),
        (ABSENT, WHY, DEBIAN, MISSING, f"can't be pulled ({WHY})"),
        (WHY, "", DEBIAN, UNKNOWN, str(WHY)),
    ],
)
def test_base_image(
    images: object,
    registry: object,
    host: Host,
    status: Status,
    shown: str,
) -> None:
    item = line("base image", host, images=images, registry=registry)
    assert item.status is status
    assert shown in item.found
    assert ("apt-get install -y mmdebstrap" in item.mend) == (status is MISSING)


def test_a_base_image_is_loaded_where_none_can_be_made() -> None:
    item = line("base image", Host(family="fedora"), images=ABSENT, registry="no such host")
    assert item.mend.startswith("docker load < IMAGE.tar")


def test_node_image() -> None:
    assert line("node image", images=BUILT).found == "node:1"
    assert "not built yet" in line("node image", images=UNBUILT).found
    assert line("node image", images=WHY).status is UNKNOWN


@pytest.mark.parametrize(
    ("found", "images", "status", "shown"),
    [
        (Packages(True, "pip", ("https://mirror",)), UNBUILT, OK, "fetched already"),
        (PACKAGES, UNBUILT, OK, "by pip, from https://pypi.org"),
        (Packages(False, ""), BUILT, OK, "in the node image"),
        (Packages(False, ""), UNBUILT, MISSING, "no pip"),
        (WHY, UNBUILT, UNKNOWN, str(WHY)),
    ],
)
def test_packages(found: object, images: ImagesFound, status: Status, shown: str) -> None:
    item = line("packages", packages=found, images=images)
    assert item.status is status
    assert shown in item.found
    assert bool(item.mend) == (status is MISSING)


@pytest.mark.parametrize(
    ("found", "status", "shown"),
    [
        (PythonFound("3.11.7", True, ""), OK, "with all that a node imports"),
        (PYTHON, OK, "made with /usr/bin/python3.11"),
        (PythonFound("3.13.1", False, ""), WARNING, "3.13.1"),
        (WHY, UNKNOWN, str(WHY)),
    ],
)
def test_python(found: object, status: Status, shown: str) -> None:
    item = line("python", python=found)
    assert item.status is status
    assert shown in item.found
    assert ("python3.11" in item.mend) == (status is WARNING)


@pytest.mark.parametrize(
    ("found", "status", "shown", "cure"),
    [
        (StackReading(""), OK, "comes with", ""),
        (StackReading("/python"), OK, "reads them", ""),
        (StackReading("/python", "py-spy is not there"), WARNING, "not there", "/python -m pip"),
        (StackReading("/python", "Permission Denied"), WARNING, "Permission", "ptrace_scope=1"),
        (WHY, UNKNOWN, str(WHY), ""),
    ],
)
def test_stacks(found: object, status: Status, shown: str, cure: str) -> None:
    item = line("stacks", stacks=found)
    assert item.status is status
    assert shown in item.found
    assert cure in item.mend
    assert bool(item.mend) == bool(cure)


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (Memory(8 * GB, 5 * GB), OK),
        (Memory(8 * GB, None), OK),
        (Memory(8 * GB, GB), WARNING),
        (Memory(8 * GB, 0), WARNING),
        (Memory(2 * GB, None), WARNING),
        (WHY, UNKNOWN),
    ],
)
def test_memory_of_this_machine(found: object, status: Status) -> None:
    assert line("memory", memory=found).status is status


@pytest.mark.parametrize(
    ("python", "packages", "plays"),
    [
        (PythonFound("3.12.0", True, ""), Packages(False, ""), True),
        (PYTHON, PACKAGES, True),
        (PYTHON, Packages(True, ""), True),
        (PYTHON, Packages(False, ""), False),
        (PYTHON, WHY, False),
        (PythonFound("3.13.1", False, ""), PACKAGES, False),
        (WHY, PACKAGES, False),
    ],
)
def test_what_local_processes_need(python: object, packages: object, plays: bool) -> None:
    assert judged(python=python, packages=packages).process is plays


def test_a_healthy_machine() -> None:
    report = judged()
    assert report.ok
    assert {item.status for item in report.items} == {OK}
    assert len({item.name for item in report.items}) == len(report.items)


def test_without_an_engine_one_line_is_an_error_and_the_rest_wait_for_it() -> None:
    report = without_engine(EngineFailure.DOWN, "refused")
    assert not report.ok
    assert missing(report) == ["engine"]
    waiting = [item for item in report.items if item.found == NEEDS_AN_ENGINE]
    assert len(waiting) == 12
    assert all(item.status is UNKNOWN and not item.mend for item in waiting)


def test_without_access_there_is_one_error_too() -> None:
    assert missing(without_engine(EngineFailure.DENIED, "permission denied")) == ["access"]


def test_every_line_that_is_missing_has_a_mend() -> None:
    bad = {
        "info": replace(INFO, memory=GB, architecture="riscv64"),
        "compose": "",
        "buildkit": "failed",
        "disk_free": 0,
        "networks": [IPv4Network("10.0.0.0/8")],
        "images": ABSENT,
        "registry": "no",
        "packages": Packages(False, ""),
    }
    for host in (Host(), DEBIAN, UBUNTU, Host(family="macos")):
        lines = [item for item in judged(host, **bad).items if item.status is MISSING]
        assert len(lines) == 8
        assert all(item.mend for item in lines)
