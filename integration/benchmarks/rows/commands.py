"""Commands that start no stack: how long one waits for them."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from benchmarks.contest import Contest, Contestant, Kind, Sample
from benchmarks.ours import sandbox
from benchmarks.outcome import Goal
from benchmarks.setting import BenchmarkSetting
from benchmarks.talking import call

KEY = "commands"
FILES = 100
VALIDATE = f"validate, {FILES} files"
#: What ``status`` exits with where no standing stack is up.
NOTHING_STANDS = 1
#: The scenario that people read first, of which the files are copies.
_SCENARIO = Path(__file__).parents[3] / "scenarios" / "basic.yaml"


def contests(setting: BenchmarkSetting) -> list[Contest]:
    """Say what is compared."""
    folder = setting.folder / "scenarios"
    return [
        Contest(
            key=KEY,
            title="Commands that start nothing",
            note=f"From the command to the prompt. The files are {FILES} copies of "
            "`scenarios/basic.yaml`. Nobody else does the same work.",
            contestants=(
                Validate(folder),
                TimedCommand("--help", sandbox("--help"), "ours"),
                TimedCommand("status", sandbox("status"), "ours", well=(0, NOTHING_STANDS)),
                TimedCommand("python", [sys.executable, "-c", "pass"], "floor"),
            ),
            goals=(Goal(VALIDATE, "at_most", 1.0),),
        )
    ]


class TimedCommand(Contestant):
    """A command that is run and timed.

    Args:
        name: Shown.
        command: What is run.
        kind: Whether it is one of ours, or shows what nobody can go below.
        well: Exit statuses that are no failure.

    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        kind: Kind,
        well: Collection[int] = (0,),
    ) -> None:
        self.name = name
        self.kind: Kind = kind
        self.about = "`metta-sandbox " + name + "`" if kind == "ours" else "`python -c pass`"
        self._command = command
        self._well = well

    def run(self) -> Sample:
        """Run the command."""
        return Sample(call(self._command, well=self._well))


class Validate(TimedCommand):
    """The check of many files.

    Args:
        folder: For the files.

    """

    def __init__(self, folder: Path) -> None:
        super().__init__(VALIDATE, sandbox("validate", folder), "ours")
        self._folder = folder
        self.about = "`metta-sandbox validate FOLDER`"

    def set_up(self) -> None:
        """Write the files."""
        self._folder.mkdir(parents=True, exist_ok=True)
        text = _SCENARIO.read_text()
        for number in range(FILES):
            own = re.sub(r"^name: .*$", f"name: copy-{number}", text, flags=re.MULTILINE)
            (self._folder / f"copy-{number}.yaml").write_text(own)
