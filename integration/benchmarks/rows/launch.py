"""The loop of trying a fix: the same launch typed again, from the command to the prompt."""

from __future__ import annotations

import shutil
import sys
from itertools import count

from benchmarks.contest import Contest, Contestant, Kind, Sample
from benchmarks.ours import sandbox
from benchmarks.outcome import Goal
from benchmarks.setting import BenchmarkSetting
from benchmarks.talking import call

KEY = "launch"
STANDING, OWN, PYTHON = "on a standing stack", "on a stack of its own", "import torch"
_ONE_TRIAL = ("sweep.trials=1", "trainer.total_timesteps=50", "+hardware=macbook")


def contests(setting: BenchmarkSetting) -> list[Contest]:
    """Say what is compared."""
    return [
        Contest(
            key=KEY,
            title="One trial, launched",
            note="From the command to the prompt, report included; two nodes in containers. The "
            "standing stack is this benchmark's own, in a home of its own.",
            contestants=(
                Launch(setting, STANDING, standing=True),
                Launch(setting, OWN, standing=False),
                ImportTorch(),
            ),
            goals=(Goal(STANDING, "at_most", 1.5),),
        )
    ]


class Launch(Contestant):
    """A sweep of one trial by the command line.

    Args:
        setting: The benchmark's.
        name: Shown.
        standing: Whether a stack is up for it.

    """

    kind: Kind = "ours"
    about = "`metta-sandbox launch sweep run=… sweep.trials=1`"

    def __init__(self, setting: BenchmarkSetting, name: str, *, standing: bool) -> None:
        self.name = name
        self._standing = standing
        self._folder = setting.folder / f"{KEY}-{'standing' if standing else 'own'}"
        self._numbers = count(1)

    def set_up(self) -> None:
        """Bring the standing stack up."""
        self._folder.mkdir(exist_ok=True)
        if self._standing:
            self._call("up", "--engine=compose")

    def run(self) -> Sample:
        """Launch a sweep."""
        words = ("sweep", f"run=r{next(self._numbers)}", *_ONE_TRIAL)
        return Sample(self._call("launch", "--engine=compose", *words))

    def tear_down(self) -> None:
        """Stop the standing stack."""
        if self._standing:
            self._call("stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _call(self, *words: str) -> float:
        return call(["env", f"XDG_STATE_HOME={self._folder}", *sandbox(*words)], cwd=self._folder)


class ImportTorch(Contestant):
    """What a program that trains waits for before its first line."""

    name = PYTHON
    kind: Kind = "floor"
    about = "`python -c 'import torch'`, on this machine"

    def run(self) -> Sample:
        """Run it."""
        return Sample(call([sys.executable, "-c", "import torch"]))
