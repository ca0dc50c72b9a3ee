"""A sweep of 20 trials on two nodes, everything included: up, trials, logs, down."""

from __future__ import annotations

import time

from benchmarks.contest import Contest, Kind, Sample
from benchmarks.ours import play
from benchmarks.outcome import Goal
from benchmarks.raw import RawStack, compose_file
from benchmarks.rows.trial import NODES, execute_trial
from benchmarks.setting import Setting

KEY = "sweep"
HAND_MADE = "by hand"
WARM = "ours, warm"
#: What people wait who can't see when nodes are ready, in seconds.
WAIT = 15.0
_TRIALS, _QUICK = 20, 3


def contests(setting: Setting) -> list[Contest]:
    """Say what is compared."""
    trials = _QUICK if setting.quick else _TRIALS
    return [
        Contest(
            key=KEY,
            title=f"A sweep of {trials} trials on two nodes, everything included",
            note="By hand: `compose up`, 15 s of waiting, `compose exec … torchrun` on both nodes "
            "for each trial, `compose logs`, `compose down`. Ours: the whole `metta-sandbox run`, "
            "which also suggests, names, tracks and scores every trial, checks and reports.",
            contestants=(
                HandMade(setting, trials),
                Ours(setting, WARM, "warm", trials),
                Ours(setting, "ours, torchrun", "torchrun", trials),
            ),
            # The goal is one for twenty trials.
            goals=() if setting.quick else (Goal(WARM, "times_faster", 6, HAND_MADE),),
            rounds=1 if setting.quick else 3,
            warm_up=False,
        )
    ]


class HandMade:
    """The way people do it without the sandbox.

    Args:
        setting: The benchmark's.
        trials: How many.

    """

    name = HAND_MADE
    kind: Kind = "peer"
    about = "Compose, a fixed wait, exec for each trial"

    def __init__(self, setting: Setting, trials: int) -> None:
        file = compose_file(f"{setting.name}-hand", setting.image, NODES, setting.scripts)
        self._stack = RawStack(setting.folder / "hand", file)
        self._trials = trials

    def set_up(self) -> None:
        """Nothing is kept up."""

    def run(self) -> Sample:
        """Do the whole of it."""
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
        """Remove what an unfinished one left."""
        self._stack.down()


class Ours:
    """A sweep of ours.

    Args:
        setting: The benchmark's.
        name: Shown.
        launcher: ``warm`` or ``torchrun``.
        trials: How many.

    """

    kind: Kind = "ours"

    def __init__(self, setting: Setting, name: str, launcher: str, trials: int) -> None:
        self.name = name
        self.about = f"`metta-sandbox run`, `launcher: {launcher}`"
        self._setting = setting
        self._launcher = launcher
        self._trials = trials

    def set_up(self) -> None:
        """Nothing is kept up."""

    def run(self) -> Sample:
        """Play the sweep."""
        scenario = self._setting.scripts / "sweep.yaml"
        settings = {"trials": self._trials, "launcher": self._launcher}
        seconds, trials = play(self._setting, scenario, **settings)
        taken = {f"trial {number}": trial["seconds"] for number, trial in enumerate(trials, 1)}
        return Sample(seconds, {**taken, "around": seconds - sum(taken.values())})

    def tear_down(self) -> None:
        """Nothing is kept up."""
