from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from metta_sandbox.doctor import judge, judge_engine, judge_host
from metta_sandbox.doctor.item import NEEDS_AN_ENGINE, Item, Status, Unknown
from metta_sandbox.doctor.look import Findings, OnEngine
from metta_sandbox.doctor.read_engine import Engine, Failure, Images, Info, Inside, NoEngine
from metta_sandbox.doctor.read_host import Host, Memory, Packages, Python, Stacks
from metta_sandbox.stack.engines.compose.subnet import POOL

GB = 10**9
OK, WARNING, MISSING, UNKNOWN = Status.OK, Status.WARNING, Status.MISSING, Status.UNKNOWN
WHY = Unknown("the dog ate it")

DEBIAN = Host(family="debian", user="ada")
UBUNTU = Host(family="ubuntu", root=True, systemd=True)
ENGINE = Engine("27.3.1", "1.47", "linux", "Engine")
INFO = Info(
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
ABSENT, BUILT, UNBUILT = Images(""), Images("base", "node:1", True), Images("base", "node:1")
FEATURES = {"netem": "present", "nfqueue": "present", "tbf": "present"}
INSIDE = Inside(FEATURES, 50 * GB, 2 * 2**30)
PACKAGES = Packages(False, "pip", ("https://pypi.org",))
PYTHON = Python("3.11.7", False, "/usr/bin/python3.11")
HEALTHY = Findings(
    host=DEBIAN,
    engine=ENGINE,
    memory=Memory(16 * GB, 12 * GB),
    python=PYTHON,
    packages=PACKAGES,
    stacks=Stacks("/usr/bin/python3.11"),
    on_engine=OnEngine(
        endpoint="unix:///var/run/docker.sock",
        info=INFO,
        compose="2.40.3",
        buildkit="",
        disk_free=50 * GB,
        networks=[],
        images=BUILT,
        inside=INSIDE,
    ),
)


def without_engine(engine: Engine | NoEngine | Unknown) -> Findings:
    return replace(HEALTHY, engine=engine, on_engine=OnEngine())


def named(items: list[Item], name: str) -> Item:
    return next(item for item in items if item.name == name)


@pytest.mark.parametrize(
    ("found", "status", "shown", "cure"),
    [
        (ENGINE, OK, "27.3.1, API 1.47", ""),
        (Engine("19.03", "1.40", "linux", "Engine"), WARNING, "19.03, API 1.40", "docs.docker.com"),
        (
            Engine("5.0", "1.41", "linux", "Podman Engine"),
            WARNING,
            "Podman Engine 5.0, API 1.41: not Docker's own, not tried",
            "",
        ),
        (
            Engine("27.0", "1.46", "windows", "Engine"),
            MISSING,
            "windows containers",
            "switch Docker to Linux containers",
        ),
        (
            NoEngine(Failure.NO_CLIENT),
            MISSING,
            "no Docker client",
            "sudo apt-get install -y docker",
        ),
        (NoEngine(Failure.DOWN, "refused"), MISSING, "(refused)", "sudo service docker start"),
        (
            NoEngine(Failure.SILENT, "3 s"),
            MISSING,
            "does not answer (3 s)",
            "service docker restart",
        ),
        (NoEngine(Failure.DENIED, "denied"), UNKNOWN, "needs access", ""),
        (WHY, MISSING, WHY.reason, "restart"),
    ],
)
def test_engine(found: Engine | NoEngine | Unknown, status: Status, shown: str, cure: str) -> None:
    item = judge_engine.engine(found, DEBIAN)
    assert item.status is status
    assert shown in item.found
    assert cure in item.mend
    assert bool(cure) == bool(item.mend)


@pytest.mark.parametrize(
    ("host", "failure", "command"),
    [
        (UBUNTU, Failure.DOWN, "systemctl start docker"),
        (Host(family="macos"), Failure.DOWN, "open -a Docker"),
        (Host(family="fedora"), Failure.NO_CLIENT, "sudo dnf install -y moby-engine"),
        (Host(), Failure.NO_CLIENT, "https://docs.docker.com/engine/install"),
        (
            Host(environ={"DOCKER_HOST": "tcp://bob:hunter2@far:2376"}),
            Failure.DOWN,
            "see that DOCKER_HOST (tcp://…) is right, or: unset DOCKER_HOST",
        ),
    ],
)
def test_an_engine_is_mended_as_this_distribution_does(
    host: Host, failure: Failure, command: str
) -> None:
    assert judge_engine.engine(NoEngine(failure), host).mend == command


def test_access() -> None:
    denied = judge_engine.access(NoEngine(Failure.DENIED, "permission denied"), "", DEBIAN)
    assert denied is not None
    assert denied.status is MISSING
    assert denied.mend.startswith("sudo usermod -aG docker ada")
    member = replace(DEBIAN, groups=("ada", "docker"))
    granted = judge_engine.access(ENGINE, "ssh://bob@far", member)
    assert granted is not None
    assert granted.status is OK
    assert granted.found == "user ada of group docker by ssh://far"
    as_root = judge_engine.access(ENGINE, WHY, UBUNTU)
    assert as_root is not None
    assert as_root.found == "root"
    assert judge_engine.access(NoEngine(Failure.DOWN), "", DEBIAN) is None


@pytest.mark.parametrize(
    ("version", "host", "status", "shown", "cure"),
    [
        ("2.40.3", DEBIAN, OK, "2.40.3", ""),
        ("5.0.0", DEBIAN, OK, "5.0.0", ""),
        ("1.29.2", DEBIAN, MISSING, "1.29.2", "cli-plugins/docker-compose"),
        ("", UBUNTU, MISSING, "no Compose plugin", "apt-get install -y docker-compose-v2"),
        ("", Host(programs=("docker-compose",)), MISSING, "only docker-compose v1", "https://"),
        (WHY, DEBIAN, UNKNOWN, WHY.reason, ""),
    ],
)
def test_compose(version: str | Unknown, host: Host, status: Status, shown: str, cure: str) -> None:
    item = judge_engine.compose(version, host)
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
def test_buildkit(
    problem: str | Unknown, images: Images | Unknown, host: Host, status: Status, cure: str
) -> None:
    item = judge_engine.buildkit(problem, images, host)
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
    free: int | Unknown, images: Images | Unknown, status: Status
) -> None:
    item = judge_engine.disk(free, images)
    assert item.status is status
    assert bool(item.mend) == (status in (MISSING, WARNING))


@pytest.mark.parametrize(
    ("memory", "status"), [(4 * GB, OK), (4 * GB - 1, WARNING), (2 * GB - 1, MISSING)]
)
def test_engine_memory(memory: int, status: Status) -> None:
    item = judge_engine.memory(replace(INFO, memory=memory))
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
    item = judge_engine.networks([IPv4Network(subnet) for subnet in taken])
    assert item.status is status
    assert shown in item.found
    assert bool(item.mend) == (status is not OK)


def features(host: Host = DEBIAN, info: Info | Unknown = INFO, **state: str) -> list[Item]:
    return judge_engine.features(replace(INSIDE, features={**FEATURES, **state}), info, host)


def test_features_that_are_there() -> None:
    assert [(item.name, item.status) for item in features()] == [
        ("netem", OK),
        ("nfqueue", OK),
        ("tbf", OK),
    ]


def test_without_netem_delays_go_through_nfqueue() -> None:
    item = named(features(netem="absent"), "netem")
    assert item.status is WARNING
    assert "delays go through NFQUEUE" in item.found
    alone = named(features(netem="absent", nfqueue="absent"), "netem")
    assert "NFQUEUE" not in alone.found


def test_nfqueue_is_missed_only_where_netem_is_missing_too() -> None:
    assert named(features(nfqueue="absent"), "nfqueue").status is OK
    both = named(features(netem="absent", nfqueue="absent"), "nfqueue")
    assert both.status is WARNING
    assert both.mend


def test_modules_are_installed_where_the_engine_s_kernel_is_this_one() -> None:
    item = named(features(UBUNTU, tbf="absent"), "tbf")
    assert item.status is WARNING
    assert item.mend == "apt-get install -y linux-modules-extra-$(uname -r)"
    afar = named(features(UBUNTU, replace(INFO, here=False), tbf="absent"), "tbf")
    assert "apt-get" not in afar.mend


def test_a_feature_that_could_not_be_tried_is_unknown_with_the_reason() -> None:
    item = named(features(tbf="Operation not permitted"), "tbf")
    assert (item.status, item.found) == (UNKNOWN, "Operation not permitted")
    nothing = judge_engine.features(WHY, INFO, DEBIAN)
    assert {(item.status, item.found) for item in nothing} == {(UNKNOWN, WHY.reason)}


def test_clock() -> None:
    assert judge_engine.clock(replace(INFO, skew=0.99), UBUNTU).status is OK
    off = judge_engine.clock(replace(INFO, skew=1.0), UBUNTU)
    assert (off.status, off.mend) == (WARNING, "timedatectl set-ntp true")
    afar = judge_engine.clock(replace(INFO, skew=3600.0, here=False), UBUNTU)
    assert afar.found == "3600.0 s apart"
    assert "engine's machine" in afar.mend


def test_architecture() -> None:
    assert judge_engine.architecture(replace(INFO, architecture="aarch64")).status is OK
    item = judge_engine.architecture(replace(INFO, architecture="riscv64"))
    assert item.status is MISSING
    assert "DOCKER_HOST" in item.mend


def test_cgroup() -> None:
    assert judge_engine.cgroup(INFO).found == "version 2, with memory limits"
    item = judge_engine.cgroup(replace(INFO, cgroup="1", rootless=True, limits_memory=False))
    assert item.status is WARNING
    assert item.found == "version 1, rootless, without memory limits"


@pytest.mark.parametrize(
    ("size", "status"), [(2 * 2**30, OK), (64 * 2**20, WARNING), (None, UNKNOWN)]
)
def test_shared_memory(size: int | None, status: Status) -> None:
    assert judge_engine.shared_memory(replace(INSIDE, shared_memory=size)).status is status


MMDEBSTRAP = replace(DEBIAN, programs=("mmdebstrap",))


@pytest.mark.parametrize(
    ("images", "registry", "host", "status", "shown"),
    [
        (UNBUILT, None, DEBIAN, OK, "base"),
        (ABSENT, "", DEBIAN, OK, "can be pulled"),
        (ABSENT, "no such host", MMDEBSTRAP, OK, "mmdebstrap can make one"),
        (ABSENT, WHY, MMDEBSTRAP, OK, "mmdebstrap can make one"),
        (ABSENT, "no such host", DEBIAN, MISSING, "can't be pulled (no such host)"),
        (ABSENT, WHY, DEBIAN, MISSING, f"can't be pulled ({WHY.reason})"),
        (WHY, None, DEBIAN, UNKNOWN, WHY.reason),
    ],
)
def test_base_image(
    images: Images | Unknown,
    registry: str | Unknown | None,
    host: Host,
    status: Status,
    shown: str,
) -> None:
    item = judge_engine.base_image(images, registry, host)
    assert item.status is status
    assert shown in item.found
    assert ("apt-get install -y mmdebstrap" in item.mend) == (status is MISSING)


def test_a_base_image_is_loaded_where_none_can_be_made() -> None:
    item = judge_engine.base_image(ABSENT, "no such host", Host(family="fedora"))
    assert item.mend.startswith("docker load < IMAGE.tar")


def test_node_image() -> None:
    assert judge_engine.node_image(BUILT).found == "node:1"
    assert "not built yet" in judge_engine.node_image(UNBUILT).found
    assert judge_engine.node_image(WHY).status is UNKNOWN


@pytest.mark.parametrize(
    ("found", "images", "status", "shown"),
    [
        (Packages(True, "pip", ("https://mirror",)), UNBUILT, OK, "fetched already"),
        (PACKAGES, UNBUILT, OK, "by pip, from https://pypi.org"),
        (Packages(False, ""), BUILT, OK, "in the node image"),
        (Packages(False, ""), UNBUILT, MISSING, "no pip"),
        (WHY, UNBUILT, UNKNOWN, WHY.reason),
    ],
)
def test_packages(found: Packages | Unknown, images: Images, status: Status, shown: str) -> None:
    item = judge_host.packages(found, images)
    assert item.status is status
    assert shown in item.found
    assert bool(item.mend) == (status is MISSING)


@pytest.mark.parametrize(
    ("found", "status", "shown"),
    [
        (Python("3.11.7", True, ""), OK, "with all that a node imports"),
        (PYTHON, OK, "made with /usr/bin/python3.11"),
        (Python("3.13.1", False, ""), WARNING, "3.13.1"),
        (WHY, UNKNOWN, WHY.reason),
    ],
)
def test_python(found: Python | Unknown, status: Status, shown: str) -> None:
    item = judge_host.python(found, DEBIAN)
    assert item.status is status
    assert shown in item.found
    assert ("python3.11" in item.mend) == (status is WARNING)


@pytest.mark.parametrize(
    ("found", "status", "shown", "cure"),
    [
        (Stacks(""), OK, "comes with", ""),
        (Stacks("/python"), OK, "reads them", ""),
        (Stacks("/python", "py-spy is not there"), WARNING, "not there", "/python -m pip"),
        (Stacks("/python", "Permission Denied"), WARNING, "Permission", "ptrace_scope=1"),
        (WHY, UNKNOWN, WHY.reason, ""),
    ],
)
def test_stacks(found: Stacks | Unknown, status: Status, shown: str, cure: str) -> None:
    item = judge_host.stacks(found, DEBIAN)
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
def test_memory_of_this_machine(found: Memory | Unknown, status: Status) -> None:
    assert judge_host.memory(found).status is status


@pytest.mark.parametrize(
    ("python", "packages", "plays"),
    [
        (Python("3.12.0", True, ""), Packages(False, ""), True),
        (PYTHON, PACKAGES, True),
        (PYTHON, Packages(True, ""), True),
        (PYTHON, Packages(False, ""), False),
        (PYTHON, WHY, False),
        (Python("3.13.1", False, ""), PACKAGES, False),
        (WHY, PACKAGES, False),
    ],
)
def test_what_local_processes_need(
    python: Python | Unknown, packages: Packages | Unknown, plays: bool
) -> None:
    assert judge_host.plays_on_processes(python, packages) is plays


def test_a_healthy_machine() -> None:
    report = judge(HEALTHY)
    assert report.ok
    assert {item.status for item in report.items} == {OK}
    assert len({item.name for item in report.items}) == len(report.items)


def test_without_an_engine_one_line_is_an_error_and_the_rest_wait_for_it() -> None:
    report = judge(without_engine(NoEngine(Failure.DOWN, "refused")))
    assert not report.ok
    assert [item.name for item in report.items if item.status is MISSING] == ["engine"]
    waiting = [item for item in report.items if item.found == NEEDS_AN_ENGINE]
    assert len(waiting) == 14
    assert all(item.status is UNKNOWN and not item.mend for item in waiting)


def test_without_access_there_is_one_error_too() -> None:
    report = judge(without_engine(NoEngine(Failure.DENIED, "permission denied")))
    assert [item.name for item in report.items if item.status is MISSING] == ["access"]


def test_every_line_that_is_missing_has_a_mend() -> None:
    bad = OnEngine(
        info=replace(INFO, memory=GB, architecture="riscv64"),
        compose="",
        buildkit="failed",
        disk_free=0,
        networks=[IPv4Network("10.0.0.0/8")],
        images=ABSENT,
        inside=INSIDE,
        registry="no",
    )
    for host in (Host(), DEBIAN, UBUNTU, Host(family="macos")):
        report = judge(replace(HEALTHY, host=host, packages=Packages(False, ""), on_engine=bad))
        missing = [item for item in report.items if item.status is MISSING]
        assert len(missing) == 8
        assert all(item.mend for item in missing)
