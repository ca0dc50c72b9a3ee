"""What dead runs left whose leases nobody has: another home, ``sudo``, a CI job's new one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import pytest

from metta_sandbox.stack.lease import Owner

if TYPE_CHECKING:
    from tests.integration.leftovers.conftest import Ground

NOTHING = "nothing was left behind"
Make = Callable[[Owner], None]


class Place(TypedDict):
    """Variables that say where somebody's home and state are."""

    HOME: str
    XDG_STATE_HOME: str


def elsewhere(ground: Ground, name: str = "another") -> Place:
    """Be somebody with a home and a state of their own, as a CI job is."""
    home = ground.folder / name
    (home / ".config").mkdir(parents=True, exist_ok=True)
    return {"HOME": str(home), "XDG_STATE_HOME": str(home / "state")}


def removed_beside_a_neighbour(ground: Ground) -> None:
    with ground.neighbour() as live:
        dead = ground.run(ground.scenario(steps=None), "--credentials")
        dead.says("ready: ", patience=300)
        dead.event("train.step")
        dead.process.kill()
        dead.process.wait()
        assert ground.left(dead.run)

        said = ground.say("clean", **elsewhere(ground))

        assert f"removed what the run {dead.run} left behind" in said
        assert live.run not in said
        # A lease of a run of which nothing is there any more is nobody's business but its own.
        assert [one for one in ground.left(dead.run) if "leases" not in one] == []
        assert dead.run not in ground.say("clean", **elsewhere(ground))


@pytest.mark.slow
def test_local_processes_of_another_home(ground: Ground) -> None:
    removed_beside_a_neighbour(ground)


def test_containers_of_another_home(docker_ground: Ground) -> None:
    removed_beside_a_neighbour(docker_ground)


def test_the_next_run_removes_them_too(docker_ground: Ground) -> None:
    ground = docker_ground
    dead = ground.run(ground.scenario(steps=None))
    dead.says("ready: ", patience=300)
    dead.event("train.step")
    dead.process.kill()
    dead.process.wait()

    following = ground.run(ground.scenario(), **elsewhere(ground))

    assert following.wait(300) == 0, following.text
    assert f"removed what the run {dead.run} left behind" in following.text
    assert ground.left_on_engine(dead.run) == []


@pytest.fixture
def made(node_image: str) -> Iterator[Make]:
    """Make a container, a network and a volume that bear an owner's labels."""
    names: list[str] = []

    def make(owner: Owner) -> None:
        labels = [word for item in owner.labels().items() for word in ("--label", "=".join(item))]
        name = f"metta-test-{owner.run}"
        names.append(name)
        subnet = f"--subnet=10.213.254.{8 * len(names)}/29"
        for words in (
            ["network", "create", "--internal", subnet, *labels, name],
            ["volume", "create", *labels, name],
            ["create", f"--name={name}", *labels, "--entrypoint=sleep", node_image, "600"],
        ):
            subprocess.run(["docker", *words], check=True, stdout=subprocess.DEVNULL)

    yield make
    for name in names:
        for words in (["rm", "--force"], ["network", "rm"], ["volume", "rm", "--force"]):
            subprocess.run(["docker", *words, name], check=False, capture_output=True)


def unheard(number: int) -> str:
    return f"20200101T000000-{os.getpid()}-{number}"


def test_what_cant_be_told_is_listed_with_what_removes_it(
    docker_ground: Ground, made: Make
) -> None:
    ground = docker_ground
    owners = [
        Owner(unheard(1), boot="another", machine="another"),
        Owner(unheard(2), pid=1, started=1, namespace=""),
        Owner(unheard(3), kind="standing"),
    ]
    for owner in owners:
        made(owner)

    said = ground.say("clean")

    for owner in owners:
        assert len(ground.left_on_engine(owner.run)) == 3
        name = f"metta-test-{owner.run}"
        lines = said[said.index(f"the run {owner.run} may be over") :].splitlines()
        commands = [line.strip() for line in lines[1:4]]
        assert commands == [
            f"docker rm --force --volumes {name}",
            f"docker network rm {name}",
            f"docker volume rm {name}",
        ]
        for command in commands:
            subprocess.run(command.split(), check=True, stdout=subprocess.DEVNULL)
        assert ground.left_on_engine(owner.run) == []


def test_of_an_earlier_boot_goes_what_runs_no_more(docker_ground: Ground, made: Make) -> None:
    ground = docker_ground
    owner = Owner(unheard(6), boot="earlier")
    if not owner.machine:
        pytest.skip("this machine has no name of its own")
    made(owner)
    subprocess.run(["docker", "start", f"metta-test-{owner.run}"], check=True)
    assert f"the run {owner.run} may be over or not, it runs" in ground.say("clean")
    assert len(ground.left_on_engine(owner.run)) == 3

    subprocess.run(["docker", "kill", f"metta-test-{owner.run}"], check=True)

    assert f"removed what the run {owner.run} left behind" in ground.say("clean")
    assert ground.left_on_engine(owner.run) == []


def test_of_a_live_owner_nothing_is_touched_or_listed(docker_ground: Ground, made: Make) -> None:
    ground = docker_ground
    made(Owner(unheard(4)))

    assert unheard(4) not in ground.say("clean")

    assert len(ground.left_on_engine(unheard(4))) == 3


def test_one_in_a_container_is_seen_from_the_host_alone(docker_ground: Ground, made: Make) -> None:
    ground = docker_ground
    if os.geteuid() != 0:
        pytest.skip("only root sees all namespaces")
    apart = ["unshare", "--pid", "--fork", "--kill-child", "sleep", "600"]
    with subprocess.Popen(apart) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        pid = ground.eventually(lambda: children.read_text().split(), "a process apart")[0]
        started = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        spaces = [Path(f"/proc/{pid}/ns/{kind}").readlink().name for kind in ("pid", "time")]
        space = ".".join(one.partition("[")[2].rstrip("]") for one in spaces)
        owner = Owner(unheard(5), pid=1, started=started, namespace=space)
        made(owner)

        assert unheard(5) not in ground.say("clean")
        assert len(ground.left_on_engine(owner.run)) == 3
        process.kill()
    assert f"removed what the run {owner.run} left behind" in ground.say("clean")
    assert ground.left_on_engine(owner.run) == []
