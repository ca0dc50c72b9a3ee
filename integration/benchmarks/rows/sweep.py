"""A sweep of 20 trials on two nodes, everything included: up, trials, logs, down."""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchmarks.contest import Contest, Contestant, Kind, Sample
from benchmarks.ours import play
from benchmarks.outcome import Goal
from benchmarks.raw import RawStack, compose_file
from benchmarks.rows.trial import NODES, execute_trial, kubeflow
from benchmarks.setting import BenchmarkSetting
from benchmarks.talking import Talker, together

KEY = "sweep"
HAND_MADE = "by hand"
WARM = "ours, warm"
#: What people wait who can't see when nodes are ready, in seconds.
WAIT = 15.0
_TRIALS, _QUICK = 20, 3
#: Trials that those do whom no goal is about; the rest is reckoned.
_PART = 5


def contests(setting: BenchmarkSetting) -> list[Contest]:
    """Say what is compared."""
    trials = _QUICK if setting.quick else _TRIALS
    return [
        Contest(
            key=KEY,
            title=f"A sweep of {trials} trials on two nodes, everything included",
            note="By hand: `compose up`, 15 s of waiting, `compose exec … torchrun` on both nodes "
            "for each trial, `compose logs`, `compose down`. Ours: the whole `metta-sandbox run`, "
            "which also suggests, names, tracks and scores every trial, checks and reports. "
            "Kubeflow: a loop over its trainer's client, as its optimizer's needs Kubernetes. "
            "Where it says so, the time of some trials stands for that of all.",
            contestants=(
                HandMade(setting, trials),
                OurSweep(setting, WARM, "warm", trials, trials),
                OurSweep(setting, "ours, torchrun", "torchrun", trials, min(trials, _PART)),
                Jobs(setting, trials, min(trials, _PART)),
            ),
            # The goal is one for twenty trials.
            goals=() if setting.quick else (Goal(WARM, "times_faster", 6, HAND_MADE),),
            rounds=1,
            warm_up=False,
        )
    ]


class HandMade(Contestant):
    """The way people do it without the sandbox.

    Args:
        setting: The benchmark's.
        trials: How many.

    """

    name = HAND_MADE
    kind: Kind = "peer"
    about = "Compose, a fixed wait, exec for each trial"

    def __init__(self, setting: BenchmarkSetting, trials: int) -> None:
        file = compose_file(f"{setting.name}-hand", setting.image, NODES, setting.scripts)
        self._stack = RawStack(setting.folder / "hand", file)
        self._trials = trials

    def run(self) -> Sample:
        """Bring nodes up, run all trials by hand, and take the nodes down."""
        parts = {"up": self._stack.up()}
        # Not to synchronise with anything: this wait is what is compared with.
        began = time.perf_counter()
        time.sleep(WAIT)
        parts["wait"] = time.perf_counter() - began
        for number in range(self._trials):
            rate = f"--lr={0.01 * (number + 1):.2f}"
            parts[f"trial {number + 1}"] = execute_trial(self._stack, rate)
        parts["logs"] = self._stack.logs()
        parts["down"] = self._stack.down()
        return Sample(sum(parts.values()), parts)

    def tear_down(self) -> None:
        """Remove what an unfinished round left."""
        self._stack.down()


class OurSweep(Contestant):
    """A sweep by the sandbox's command line.

    Args:
        setting: The benchmark's.
        name: Shown.
        launcher: ``warm`` or ``torchrun``.
        trials: How many.
        done: How many of them are done.

    """

    kind: Kind = "ours"

    def __init__(
        self, setting: BenchmarkSetting, name: str, launcher: str, trials: int, done: int
    ) -> None:
        self.name = name
        self.about = f"`metta-sandbox run`, `launcher: {launcher}`{reckoned(trials, done)}"
        self._setting = setting
        self._launcher = launcher
        self._trials = trials
        self._done = done

    def run(self) -> Sample:
        """Play the sweep."""
        scenario = self._setting.scripts / "sweep.yaml"
        settings = {"trials": self._done, "launcher": self._launcher}
        seconds, trials = play(self._setting, scenario, **settings)
        taken = {f"trial {number}": trial["seconds"] for number, trial in enumerate(trials, 1)}
        return reckon(taken, seconds - sum(taken.values()), self._trials)


class Jobs(Contestant):
    """A job of the Kubeflow SDK's for each trial.

    Args:
        setting: The benchmark's.
        trials: How many.
        done: How many of them are done.

    """

    name = "Kubeflow SDK ContainerBackend"
    kind: Kind = "peer"

    def __init__(self, setting: BenchmarkSetting, trials: int, done: int) -> None:
        self.about = f"a job for each trial, and its removal{reckoned(trials, done)}"
        self._setting = setting
        self._trials = trials
        self._done = done
        self._talker: Talker | None = None

    def set_up(self) -> None:
        """Import the peer."""
        self._talker = kubeflow(self._setting)

    def run(self) -> Sample:
        """Run one job after another."""
        assert self._talker is not None
        taken = {}
        for number in range(1, self._done + 1):
            arguments = [f"--lr={0.01 * number:.2f}"]
            trial, _ = together([self._talker], arguments=arguments)
            removal, _ = together([self._talker], clear=True)
            taken[f"trial {number}"] = trial + removal
        return reckon(taken, 0.0, self._trials)

    def tear_down(self) -> None:
        """Have the program end, which removes what is left."""
        if self._talker is not None:
            self._talker.close()


def reckon(taken: Mapping[str, float], around: float, trials: int) -> Sample:
    """Reckon what a whole sweep takes from the trials that were done, and what is around them."""
    seconds = sum(taken.values()) * trials / len(taken)
    return Sample(seconds + around, {**taken, "around": around})


def reckoned(trials: int, done: int) -> str:
    """Say from how many trials the figure is reckoned, if not from all."""
    return "" if done == trials else f"; {done} trials done, taken {trials / done:g} times"
