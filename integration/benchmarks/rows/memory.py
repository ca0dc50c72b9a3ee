"""Memory per node while a trainer runs: a whole sweep of ours, against plain containers."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.contest import Contest, Contestant, Kind, Sample, UnableError
from benchmarks.ours import hosts_of, sandbox
from benchmarks.raw import RawStack, training_file
from benchmarks.setting import BenchmarkSetting
from benchmarks.talking import beside
from metta_sandbox.stack.lease import LABEL

KEY = "memory"
_SIZES, _QUICK = (2, 8, 32), (2,)
#: Seconds until all ranks have trained, where two cores import torch for each of 32 nodes.
_PATIENCE = 900.0
_LOOK = 0.1
_MEGABYTE = 10**6


def contests(setting: BenchmarkSetting) -> list[Contest]:
    """Say what is compared."""
    return [_contest(setting, nodes) for nodes in (_QUICK if setting.quick else _SIZES)]


def _contest(setting: BenchmarkSetting, nodes: int) -> Contest:
    return Contest(
        key=f"{KEY}/{nodes}",
        title=f"Memory per node: {nodes} nodes",
        note="While all ranks, one on each node, have trained and wait: the memory of all "
        "containers that is their processes' own (anonymous pages, as their control groups count "
        "them; libraries lie in the page cache once for all), divided by the number of nodes. "
        "Plain containers run `torchrun` and nothing else.",
        contestants=(OurHeldSweep(setting, nodes), Plain(setting, nodes)),
        rounds=1,
        warm_up=False,
        unit="MB",
    )


class OurHeldSweep(Contestant):
    """A sweep of one trial that stays.

    Args:
        setting: The benchmark's.
        nodes: How many.

    """

    name = "ours"
    kind: Kind = "ours"
    about = (
        "`metta-sandbox run`, `launcher: warm`: agent, rollout, warm process and rank on each "
        "node, W&B beside rank 0; and each node's share of hub and control plane"
    )

    def __init__(self, setting: BenchmarkSetting, nodes: int) -> None:
        self._setting = setting
        self._nodes = nodes
        self._artifacts = setting.folder / f"memory-{nodes}"

    def run(self) -> Sample:
        """Play the sweep, and measure it meanwhile."""
        scenario = self._setting.scripts / "hold.yaml"
        run = sandbox("run", scenario, "--engine=compose", f"--artifacts={self._artifacts}")
        with beside([*run, "--quiet", f"--set=nodes={self._nodes}"], self._setting.folder) as play:
            latest = self._artifacts / "latest"
            shared = latest / "hold" / "shared"
            await_held(shared, self._nodes, play)
            label = f"{LABEL}.run={latest.resolve().name}"
            names = containers("docker", "ps", "--filter", f"label={label}")
            sizes = measure(names)
            (shared / "release").touch()
            if play.wait(_PATIENCE):
                raise UnableError("the sweep did not pass")
        nodes = [size for name, size in sizes.items() if name.endswith(hosts_of(self._nodes))]
        return per_node(nodes, sum(sizes.values()) - sum(nodes), self._nodes)

    def tear_down(self) -> None:
        """Remove the run's artifacts."""
        shutil.rmtree(self._artifacts, ignore_errors=True)


class Plain(Contestant):
    """Containers whose only program is ``torchrun``.

    Args:
        setting: The benchmark's.
        nodes: How many.

    """

    name = "plain containers"
    kind: Kind = "peer"
    about = "`docker compose up` of containers that run `torchrun`"

    def __init__(self, setting: BenchmarkSetting, nodes: int) -> None:
        self._nodes = nodes
        self._shared = setting.folder / f"held-{nodes}"
        file = training_file(
            f"{setting.name}-held-{nodes}", setting.image, nodes, setting.scripts, self._shared
        )
        self._stack = RawStack(setting.folder / f"plain-{nodes}", file)

    def set_up(self) -> None:
        """Make the folder that all containers see."""
        self._shared.mkdir()
        self._shared.chmod(0o777)

    def run(self) -> Sample:
        """Start the containers, and measure them once all have trained."""
        self._stack.up()
        await_held(self._shared, self._nodes)
        sizes = measure(containers(*self._stack.compose, "ps"))
        (self._shared / "release").touch()
        return per_node(list(sizes.values()), 0.0, self._nodes)

    def tear_down(self) -> None:
        """Remove the containers."""
        self._stack.down()


def per_node(nodes: Sequence[float], others: float, number: int) -> Sample:
    """Divide what was measured by the number of nodes.

    Raises:
        UnableError: Some node was not measured.

    """
    if len(nodes) != number:
        raise UnableError(f"only {len(nodes)} of {number} nodes were found")
    parts = {"nodes": sum(nodes) / number, "hub and control plane": others / number}
    return Sample(sum(parts.values()), parts)


def await_held(folder: Path, ranks: int, program: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until all ranks have trained, and stay.

    Raises:
        UnableError: They have not in time, or the program that runs them has ended.

    """
    deadline = time.monotonic() + _PATIENCE
    while (held := len(list(folder.glob("held-*")))) < ranks:
        if program is not None and program.poll() is not None:
            raise UnableError(f"it ended when {held} of {ranks} ranks had trained")
        if time.monotonic() > deadline:
            raise UnableError(f"{held} of {ranks} ranks had trained within {_PATIENCE:g} s")
        time.sleep(_LOOK)


def containers(*command: str) -> list[str]:
    """List the names of running containers."""
    words = [*command, "--format", "{{.Names}}"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()


def measure(names: Iterable[str]) -> dict[str, float]:
    """Ask the kernel, in each container, how much memory is its processes' own, in MB.

    Raises:
        UnableError: It does not say.

    """
    return {name: _own(name) for name in names}


def _own(name: str) -> float:
    look = "cat /sys/fs/cgroup/memory/memory.stat 2>/dev/null || cat /sys/fs/cgroup/memory.stat"
    said = subprocess.run(
        ["docker", "exec", name, "sh", "-c", look], capture_output=True, text=True, check=False
    )
    size = anonymous(said.stdout.splitlines())
    if size is None:
        raise UnableError(f"{name} does not say what it uses: {said.stderr.strip()}")
    return size


def anonymous(statistics: Iterable[str]) -> float | None:
    """Read from a control group's statistics what is no file's, in MB (cgroups v1 and v2)."""
    for line in statistics:
        name, _, value = line.partition(" ")
        if name in {"total_rss", "anon"}:
            return int(value) / _MEGABYTE
    return None
