"""One two-rank trial of 50 steps: from the word to start it until both ranks have ended well."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from itertools import count

from benchmarks.contest import Contest, Contestant, Kind, Sample, UnableError
from benchmarks.ours import OurStack, play
from benchmarks.outcome import FASTEST_PEER, Goal
from benchmarks.peers import KUBEFLOW, TORCHX, python_of
from benchmarks.raw import RawStack, compose_file, torchrun
from benchmarks.setting import BenchmarkSetting
from benchmarks.talking import Talker, call, calls, together
from metta_sandbox.ports import HeldPort

KEY = "trial"
WARM = "ours, warm"
TRACKED = "ours, warm, with W&B"
NODES = 2
#: Trials of a sweep that is played for its trials; the first one is not counted.
TRIALS = 5
#: Of short trials, which others keep apart by minutes.
_IN_A_ROW = 3
#: Fresh ports inside containers, where nobody else listens.
_PORTS = count(29600)


def contests(setting: BenchmarkSetting) -> list[Contest]:
    """Say what is compared."""
    return [
        Contest(
            key=KEY,
            title="One two-rank trial, 50 steps",
            note="The same script for all, `OMP_NUM_THREADS=1`, two ranks, gloo; containers are "
            "made of the node image. What is idle between trials (containers, warm processes, "
            "clients) stays up. Peers are asked more often than they ask by themselves whether a "
            "trial is over, and what they leave behind is removed between rounds, unmeasured. "
            f"Trials that take less than a second are run {_IN_A_ROW} times in a row, as in a "
            "sweep, and the median counts.",
            contestants=(
                Launched(setting, WARM, "warm"),
                Tracked(setting),
                Launched(setting, "ours, torchrun", "torchrun"),
                BareTorchrun(setting),
                ComposeExec(setting),
                PeerJob(setting, "TorchX local_docker", TORCHX, "torchx_job.py"),
                PeerJob(setting, "Kubeflow SDK ContainerBackend", KUBEFLOW, "kubeflow_job.py"),
                BareFork(setting),
            ),
            goals=(
                Goal(WARM, "at_most", 0.5),
                Goal(TRACKED, "at_most", 0.8),
                Goal(WARM, "times_faster", 10, FASTEST_PEER),
            ),
        )
    ]


class Launched(Contestant):
    """A trial of ours through the launcher alone, on two nodes that are up.

    Args:
        setting: The benchmark's.
        name: Shown.
        launcher: ``warm`` or ``torchrun``.

    """

    kind: Kind = "ours"
    about = "the launcher on two of our nodes, without rollout and W&B"

    def __init__(self, setting: BenchmarkSetting, name: str, launcher: str) -> None:
        self.name = name
        self._setting = setting
        self._launcher = launcher
        self._stack = OurStack(setting, launcher, NODES)
        self._talkers: list[Talker] = []

    def set_up(self) -> None:
        """Bring the nodes up, and a program on each that waits for the word."""
        self._stack.up()
        self._stack.place(self._setting.scripts)
        self._talkers = self._stack.talkers("launching.py", self._launcher)

    def run(self) -> Sample:
        """Run one trial, or several in a row where they are short."""
        times = _IN_A_ROW if self._launcher == "warm" else 1
        return in_a_row(times, lambda: together(self._talkers, port=next(_PORTS))[0])

    def tear_down(self) -> None:
        """Remove the nodes."""
        try:
            for talker in self._talkers:
                talker.close()
        finally:
            self._stack.remove()


class Tracked(Contestant):
    """A whole trial of a sweep: suggestion, run name, hand-off, training, W&B, score, report."""

    name = TRACKED
    kind: Kind = "ours"
    about = f"`seconds` of a trial of our rollout; median of trials 2 to {TRIALS} of a sweep"

    def __init__(self, setting: BenchmarkSetting) -> None:
        self._setting = setting

    def run(self) -> Sample:
        """Play a sweep, and take the median of its trials."""
        scenario = self._setting.scripts / "sweep.yaml"
        _, trials = play(self._setting, scenario, trials=TRIALS, launcher="warm")
        taken = {f"trial {number}": trial["seconds"] for number, trial in enumerate(trials, 1)}
        return Sample(statistics.median(list(taken.values())[1:]), taken)


class BareTorchrun(Contestant):
    """``torchrun`` on this machine, one for both ranks, which is cheapest."""

    name = "bare torchrun"
    kind: Kind = "peer"
    about = "`torchrun --nproc-per-node=2` on this machine, without containers"

    def __init__(self, setting: BenchmarkSetting) -> None:
        self._setting = setting

    def set_up(self) -> None:
        """See whether there is torch."""
        _require_torch()

    def run(self) -> Sample:
        """Run one trial."""
        script = self._setting.scripts / "ddp.py"
        with HeldPort() as port:
            address = ("--master-addr=127.0.0.1", f"--master-port={port.number}")
            ranks = ("--nproc-per-node=2", *address)
            return Sample(call([sys.executable, "-m", "torch.distributed.run", *ranks, script]))


class ComposeExec(Contestant):
    """``docker compose exec … torchrun`` on two containers at once."""

    name = "docker compose exec torchrun"
    kind: Kind = "peer"
    about = "on both of two containers that are up"

    def __init__(self, setting: BenchmarkSetting) -> None:
        file = compose_file(f"{setting.name}-exec", setting.image, NODES, setting.scripts)
        self._stack = RawStack(setting.folder / "exec", file)

    def set_up(self) -> None:
        """Bring the containers up."""
        self._stack.up()

    def run(self) -> Sample:
        """Run one trial."""
        return Sample(execute_trial(self._stack))

    def tear_down(self) -> None:
        """Remove the containers."""
        self._stack.down()


def in_a_row(times: int, run: Callable[[], float]) -> Sample:
    """Run so many trials in a row; the median counts."""
    taken = {f"trial {number}": run() for number in range(1, times + 1)}
    return Sample(statistics.median(taken.values()), taken if times > 1 else {})


def execute_trial(stack: RawStack, *arguments: str) -> float:
    """Run one trial on two plain containers; returns its seconds."""
    port = next(_PORTS)
    return calls(
        [stack.execute(rank, *torchrun(NODES, rank, port, *arguments)) for rank in range(NODES)]
    )


class PeerJob(Contestant):
    """A job of a peer's, through its Python API, in an environment of its own.

    Args:
        setting: The benchmark's.
        name: Shown.
        requirements: The peer's packages.
        script: The program that talks to it.

    """

    kind: Kind = "peer"
    about = "submitted until it is seen to be done; two nodes of one rank"

    def __init__(
        self, setting: BenchmarkSetting, name: str, requirements: Sequence[str], script: str
    ) -> None:
        self.name = name
        self._setting = setting
        self._requirements = requirements
        self._script = script
        self._talker: Talker | None = None

    def set_up(self) -> None:
        """Import the peer."""
        self._talker = _job(self._setting, self._requirements, self._script)

    def run(self) -> Sample:
        """Run one trial, and remove afterwards what it leaves behind."""
        assert self._talker is not None
        try:
            seconds, _ = together([self._talker])
        finally:
            together([self._talker], clear=True)
        return Sample(seconds)

    def tear_down(self) -> None:
        """Have the program end, which removes what is left."""
        if self._talker is not None:
            self._talker.close()


def kubeflow(setting: BenchmarkSetting) -> Talker:
    """Start the program that runs jobs of the Kubeflow SDK's."""
    return _job(setting, KUBEFLOW, "kubeflow_job.py")


def _job(setting: BenchmarkSetting, requirements: Sequence[str], script: str) -> Talker:
    return Talker(
        [python_of(requirements), setting.scripts / script, setting.image_id, setting.scripts],
        env={"HOME": str(setting.folder)},
    )


class BareFork(Contestant):
    """Two forks of a process that has imported torch, on this machine."""

    name = "bare fork"
    kind: Kind = "floor"
    about = "two forks of a process on this machine that has imported torch; the floor"

    def __init__(self, setting: BenchmarkSetting) -> None:
        self._setting = setting
        self._talker: Talker | None = None

    def set_up(self) -> None:
        """Start a process that imports torch."""
        _require_torch()
        self._talker = Talker([sys.executable, self._setting.scripts / "forking.py"])

    def run(self) -> Sample:
        """Run one trial."""
        assert self._talker is not None
        talkers, script = [self._talker], str(self._setting.scripts / "ddp.py")

        def once() -> float:
            with HeldPort() as port:
                return together(talkers, port=port.number, script=script)[0]

        return in_a_row(_IN_A_ROW, once)

    def tear_down(self) -> None:
        """End the process that has imported torch."""
        if self._talker is not None:
            self._talker.close()


def _require_torch() -> None:
    try:
        call([sys.executable, "-c", "import torch"])
    except UnableError:
        raise UnableError("torch is not installed beside the benchmark") from None
