"""The whole cookbook: one scenario after another on nodes of its own, against the default."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contest import Contest, Contestant, Kind, Sample
from benchmarks.ours import sandbox
from benchmarks.setting import BenchmarkSetting
from benchmarks.talking import call

KEY = "cookbook"
_FOLDER = Path(__file__).parents[3] / "scenarios" / "cookbook"
#: What a try plays, and what is played once before, so that environments are there.
_QUICK = ("hand-off.yaml", "reference.yaml")


def contests(setting: BenchmarkSetting) -> list[Contest]:
    """Say what is compared."""
    return [
        Contest(
            key=KEY,
            title="The whole cookbook" if not setting.quick else "Two recipes of the cookbook",
            note="`metta-sandbox run scenarios/cookbook` on local processes, of the same wheels as "
            "the node image; recipes that need containers are skipped. All others must pass. "
            "Nobody else does the same work.",
            contestants=(
                PlayedCookbook(setting, "--fresh --jobs 1", ("--fresh", "--jobs=1")),
                PlayedCookbook(setting, "the default", ()),
            ),
            rounds=1,
            warm_up=False,
        )
    ]


class PlayedCookbook(Contestant):
    """The command that plays the cookbook.

    Args:
        setting: The benchmark's.
        name: Shown.
        options: What the command is given beside paths.

    """

    kind: Kind = "ours"

    def __init__(self, setting: BenchmarkSetting, name: str, options: tuple[str, ...]) -> None:
        self.name = name
        self.about = " ".join(("`metta-sandbox run scenarios/cookbook", *options)) + "`"
        self._setting = setting
        self._options = options

    def set_up(self) -> None:
        """Have the environment of the nodes made, if it is not there."""
        self._play([_FOLDER / _QUICK[0]])

    def run(self) -> Sample:
        """Play all recipes."""
        chosen = [_FOLDER / name for name in _QUICK] if self._setting.quick else [_FOLDER]
        return Sample(self._play(chosen))

    def _play(self, paths: list[Path]) -> float:
        folder = self._setting.folder
        artifacts = f"--artifacts={folder / 'cookbook'}"
        words = sandbox("run", *paths, "--engine=process", artifacts, "--quiet", *self._options)
        return call(words, cwd=folder)
