"""What it costs to read safely what nodes write, to show it safely, and to mask secrets in it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.contest import Contest, Contestant, Kind, Sample
from benchmarks.ours import play, sandbox
from benchmarks.outcome import Goal
from benchmarks.reading import GUARDS, MASKING, SAFE_READING, SAFE_TEXT
from benchmarks.setting import BenchmarkSetting
from benchmarks.talking import call

KEY = "boundary"
#: How much longer something may take for being safe.
_MOST = 1.05
_ALL, _NONE = "all guards", "no guard"
_WITH, _WITHOUT = "a secret to mask", "no secret"
_ENTRIES, _FEW = 1_000_000, 50_000
_SECONDS, _SHORT = 20, 3
#: An event among so many lines.
_EVENT_EVERY = 10
_BASIC = Path(__file__).parents[3] / "scenarios" / "basic.yaml"


def contests(setting: BenchmarkSetting) -> list[Contest]:
    """Say what is compared."""
    entries = _FEW if setting.quick else _ENTRIES
    seconds = _SHORT if setting.quick else _SECONDS
    return [
        Contest(
            key=f"{KEY}/report",
            title=f"A report on {entries:,} entries",
            note="Processor time for the page of a run of `scenarios/basic.yaml` whose timeline "
            "has so many entries, and for the search for a secret in its artifacts. The guards "
            "are taken away one by one, which the sandbox itself can't do.",
            contestants=(
                Page(setting, entries, _ALL, GUARDS),
                Page(setting, entries, "without safe reading", (SAFE_TEXT, MASKING)),
                Page(setting, entries, "without safe text", (SAFE_READING, MASKING)),
                Page(setting, entries, "without masking", (SAFE_READING, SAFE_TEXT)),
                Page(setting, entries, _NONE, ()),
            ),
            goals=(Goal(_ALL, "at_most_times", _MOST, _NONE),),
        ),
        Contest(
            key=f"{KEY}/trainer",
            title=f"Two nodes that print 100,000 lines a second for {seconds} s",
            note="The whole command, new containers included.",
            contestants=(
                Chatter(setting, _WITH, seconds, secret=True),
                Chatter(setting, _WITHOUT, seconds, secret=False),
            ),
            goals=(Goal(_WITH, "at_most_times", _MOST, _WITHOUT),),
        ),
    ]


class Page(Contestant):
    """The report on a run that is kept.

    Args:
        setting: The benchmark's.
        entries: Of its timeline.
        name: Shown.
        guards: Those that stay; see ``reading``.

    """

    about = "processor time of masking, reading and rendering, without Python's start"

    def __init__(
        self, setting: BenchmarkSetting, entries: int, name: str, guards: tuple[str, ...]
    ) -> None:
        self.name = name
        self.kind: Kind = "ours" if guards else "floor"
        self._entries = entries
        self._guards = guards
        self._artifacts = setting.folder / "reported"
        self._said = setting.folder / "reading.txt"

    def set_up(self) -> None:
        """Play a scenario, and lengthen its timeline; the first contestant does it for all."""
        if self._artifacts.exists():
            return
        folder = f"--artifacts={self._artifacts}"
        call(sandbox("run", _BASIC, "--engine=process", "--quiet", folder))
        timeline = next((self._artifacts / "latest").resolve().glob("*/timeline.jsonl"))
        with timeline.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(each) + "\n" for each in _entries(self._entries))

    def run(self) -> Sample:
        """Write the page once."""
        program = (sys.executable, "-m", "benchmarks.reading", self._artifacts / "latest")
        call((*program, *self._guards), output=self._said, cwd=Path(__file__).parents[2])
        return Sample(float(self._said.read_text()))

    def tear_down(self) -> None:
        """Remove the run."""
        shutil.rmtree(self._artifacts, ignore_errors=True)


class Chatter(Contestant):
    """A scenario whose nodes print without end.

    Args:
        setting: The benchmark's.
        name: Shown.
        seconds: How long they print.
        secret: Whether they get a secret, which is then looked for.

    """

    kind: Kind = "ours"
    about = "`metta-sandbox run`"

    def __init__(self, setting: BenchmarkSetting, name: str, seconds: int, *, secret: bool) -> None:
        self.name = name
        self._setting = setting
        self._seconds = seconds
        self._file = setting.scripts / f"chatter-{'masked' if secret else 'plain'}.yaml"
        self._secret = secret

    def set_up(self) -> None:
        """Write the scenario."""
        text = (self._setting.scripts / "chatter.yaml").read_text()
        token = self._file.with_suffix(".token")
        token.write_text("a-token-that-is-not-printed")
        more = f"secrets: {{TOKEN: {{file: {token.name}}}}}\n" if self._secret else ""
        self._file.write_text(text + more)

    def run(self) -> Sample:
        """Play the scenario."""
        return Sample(play(self._setting, self._file, seconds=self._seconds)[0])


def _entries(number: int) -> Iterator[dict[str, Any]]:
    """Make entries as a long sweep has them."""
    for at in range(number):
        who = {"node": "sweep-master", "received": 10 + at / 1000}
        if at % _EVENT_EVERY:
            text = f"step {at}: loss=0.{at % 1000:03d}, 1024 samples a second, lr=0.003"
            yield {"line": text, "source": "rank-0", **who}
        else:
            told = {"rank": 0, "trial": 1, "step": at, "loss": 1 / (1 + at)}
            yield {"event": "train.step", "group": "trial-1", **told, **who}
