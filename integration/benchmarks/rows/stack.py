"""Stacks up to ready, their logs collected, and down again, in several sizes."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.contest import Contest, Contestant, Kind, Sample
from benchmarks.ours import OurStack
from benchmarks.outcome import Goal
from benchmarks.peers import PYTEST_DOCKER, TESTCONTAINERS, python_of
from benchmarks.raw import RawStack, speaking_file
from benchmarks.setting import BenchmarkSetting
from benchmarks.talking import Talker, together

KEY = "stack"
RAW = "raw docker compose"
OURS = "ours"
#: Beside our nodes: hub and control plane.
OTHERS = 2
_SIZES, _QUICK = (2, 8, 32, 64), (2, 8)


def contests(setting: BenchmarkSetting) -> list[Contest]:
    """Say what is compared."""
    return [_contest(setting, nodes) for nodes in (_QUICK if setting.quick else _SIZES)]


def _contest(setting: BenchmarkSetting, nodes: int) -> Contest:
    peers = (
        Driven(setting, nodes, "testcontainers DockerCompose", TESTCONTAINERS, "testcontainers"),
        Driven(setting, nodes, "pytest-docker", PYTEST_DOCKER, "pytest_docker"),
    )
    return Contest(
        key=f"{KEY}/{nodes}",
        title=f"Up to ready, logs collected, down: {nodes} nodes",
        note=f"Everybody starts {nodes + OTHERS} containers of the same image, without limits. "
        "Ours are the nodes, the hub and the control plane, a web server whose import alone takes "
        "0.4 s of a processor; the others' are all alike, and each starts Python for a program of "
        "one line. Ready is who has said so: to ours, every agent and the control plane over the "
        "one connection; to the others, each container with a line that is waited for in "
        "`docker compose logs --follow`. Ours also looks first for its image and a free network.",
        contestants=(OurStackContestant(setting, nodes), Raw(setting, nodes), *peers),
        goals=(Goal(OURS, "at_most_times", 1.2, RAW),),
        warm_up=nodes == min(_SIZES),
        once=frozenset(one.name for one in peers if nodes > max(_QUICK)),
    )


class OurStackContestant(Contestant):
    """A stack of ours, without what it costs to start the command line.

    Args:
        setting: The benchmark's.
        nodes: How many.

    """

    name = OURS
    kind: Kind = "ours"
    about = "what `run` calls: up, every node ready; containers ended, logs kept; down"

    def __init__(self, setting: BenchmarkSetting, nodes: int) -> None:
        self._stack = OurStack(setting, f"stack-{nodes}", nodes)

    def run(self) -> Sample:
        """Bring a stack up, collect its logs and take it down."""
        return whole(
            {"up": self._stack.up(), "logs": self._stack.logs(), "down": self._stack.down()}
        )

    def tear_down(self) -> None:
        """Remove what an unfinished round left."""
        self._stack.remove()


class Raw(Contestant):
    """A stack by plain Compose.

    Args:
        setting: The benchmark's.
        nodes: How many.

    """

    name = RAW
    kind: Kind = "peer"
    about = "`up --detach`, `logs --follow` until all are ready; `logs`; `down`"

    def __init__(self, setting: BenchmarkSetting, nodes: int) -> None:
        self._stack = _speaking(setting, f"raw-{nodes}", nodes)

    def run(self) -> Sample:
        """Bring a stack up, collect its logs and take it down."""
        return whole(
            {
                "up": self._stack.up_to_ready(),
                "logs": self._stack.logs(),
                "down": self._stack.down(),
            }
        )

    def tear_down(self) -> None:
        """Remove what an unfinished round left."""
        self._stack.down()


class Driven(Contestant):
    """A peer that drives Compose, on the same Compose file, in an environment of its own.

    Args:
        setting: The benchmark's.
        nodes: How many.
        name: Shown.
        requirements: The peer's packages.
        script: Begins the name of the program that talks to it.

    """

    kind: Kind = "peer"
    about = "its Python API on the same Compose file; up with `--wait`, its default, then the same"

    def __init__(
        self,
        setting: BenchmarkSetting,
        nodes: int,
        name: str,
        requirements: Sequence[str],
        script: str,
    ) -> None:
        self.name = name
        self._setting = setting
        self._requirements = requirements
        self._script = f"{script}_stack.py"
        short = f"{script.replace('_', '')}-{nodes}"
        self._stack = _speaking(setting, short, nodes)
        self._containers = nodes + OTHERS
        self._talker: Talker | None = None

    def set_up(self) -> None:
        """Import the peer."""
        python = python_of(self._requirements)
        words = (self._stack.project, self._stack.folder, str(self._containers))
        self._talker = Talker([python, self._setting.scripts / self._script, *words])

    def run(self) -> Sample:
        """Bring a stack up, collect its logs and take it down."""
        assert self._talker is not None
        _, (parts,) = together([self._talker])
        return whole(parts)

    def tear_down(self) -> None:
        """Remove what an unfinished round left."""
        try:
            if self._talker is not None:
                self._talker.close()
        finally:
            self._stack.down()


def _speaking(setting: BenchmarkSetting, name: str, nodes: int) -> RawStack:
    project = f"{setting.name}-{name}"
    return RawStack(setting.folder / name, speaking_file(project, setting.image, nodes + OTHERS))


def whole(parts: dict[str, float]) -> Sample:
    """Add up what was taken apart."""
    return Sample(sum(parts.values()), parts)
