"""The folder that trials start in: fresh for each, or watched for what they leave each other."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from metta_sandbox.node.agent.emitter import Emitter
from metta_sandbox.node.agent.events import FolderFresh, FolderReread
from metta_sandbox.node.fresh import FRESH, KEPT, LEFT, Workplace
from metta_sandbox.node.handoff import HandOff
from metta_sandbox.node.view import NodeView
from metta_sandbox.scenario.model import Scenario

#: Above this many files, nobody looks at what is read of them.
_MOST = 20_000
#: How many of those that were read are told.
_TOLD = 10
_LEFT_OUT = frozenset({"__pycache__", ".git", ".venv"})
#: What the sandbox itself keeps in the folder that nodes share.
_OURS = frozenset({"trials", "wandb", KEPT, LEFT})


class TrialFolder:
    """A node's working folder, between one trial and the next.

    Args:
        place: Makes it fresh; None where all trials work on in it.
        left: Where what trials leave is kept, by run.
        own: What this node's part of that is called, if it has a folder of its own.
        reread: Sees what trials read of each other's; None where nobody looks.

    """

    def __init__(
        self, place: Workplace | None, left: Path, own: str, reread: Reread | None
    ) -> None:
        self._place = place
        self._left = left
        self._own = own
        self._reread = reread
        self._last = ""

    @classmethod
    def of(cls, scenario: Scenario, view: NodeView) -> TrialFolder:
        """Find out what the scenario asks for, and keep what setup left."""
        workload, folder = scenario.workload, Path.cwd()
        private = workload.working_folder == "private"
        place = reread = None
        if workload.trainer.bundled or scenario.sweep.trials == 1:
            pass
        elif os.environ.get(FRESH) and (private or view.is_master):
            place = Workplace(folder, view.run_folder / KEPT / folder.name)
        elif not os.environ.get(FRESH) and (private or view.is_master):
            ours = _OURS if folder == view.run_folder else frozenset()
            reread = Reread(folder, _LEFT_OUT | ours)
        return cls(place, view.run_folder / LEFT, view.host if private else "", reread)

    @property
    def shared(self) -> bool:
        """Whether rank 0 prepares it for all nodes, before it hands a trial off."""
        return not self._own

    def prepare(self, handoff: HandOff, emitter: Emitter) -> None:
        """Make it ready for a trial; one that is tried again goes on in what it left.

        Raises:
            CopyError: It can't be made fresh.

        """
        if self._place and self._place.used and handoff.attempt == 1:
            began = time.perf_counter()
            moved = self._place.renew(self._left / (self._last or "before") / self._own)
            seconds = round(time.perf_counter() - began, 4)
            emitter.tell(FolderFresh(trial=handoff.trial, moved=moved, seconds=seconds))
        if self._place:
            self._place.used, self._last = True, handoff.run
        if self._reread and handoff.attempt == 1:
            self._reread.begin()

    def look(self, handoff: HandOff, emitter: Emitter) -> None:
        """Tell what a trial has read that an earlier one wrote, or why that can't be told."""
        if self._reread is None or handoff.trial == 1:
            return
        if files := self._reread.read():
            told, count = files[:_TOLD], len(files)
            emitter.tell(FolderReread(trial=handoff.trial, files=told, count=count))
        elif self._reread.blind:
            emitter.tell(FolderReread(trial=handoff.trial, unknown=self._reread.blind))


class Reread:
    """Sees by access times which files of earlier trials a trial reads.

    Args:
        folder: The working folder, before the first trial.
        left_out: Names of folders in it that are not looked at.

    """

    def __init__(self, folder: Path, left_out: frozenset[str] = _LEFT_OUT) -> None:
        self._folder = folder
        self._left_out = left_out
        self._since = time.time_ns()
        self._watched: dict[Path, tuple[int, int]] = {}
        #: Why nothing can be told; empty if something can.
        self.blind = "" if _keeps_access_times(folder) else "this file system keeps no access times"

    def begin(self) -> None:
        """Note what earlier trials wrote, and when it was read last."""
        self._watched = {}
        for number, path in enumerate(_files(self._folder, self._left_out)):
            if number >= _MOST:
                self.blind = f"there are more than {_MOST} files"
            with suppress(OSError):
                found = path.stat()
                if self.blind or found.st_mtime_ns < self._since:
                    continue
                # Most systems note the first reading after a change alone (relatime).
                read = found.st_mtime_ns - 1
                os.utime(path, ns=(read, found.st_mtime_ns))
                self._watched[path] = found.st_ino, read

    def read(self) -> list[str]:
        """List what was read since, from the folder."""
        found = []
        for path, (inode, read) in self._watched.items():
            with suppress(OSError):
                seen = path.stat()
                if seen.st_ino == inode and seen.st_atime_ns > read:
                    found.append(str(path.relative_to(self._folder)))
        return sorted(found)


def _files(folder: Path, left_out: frozenset[str]) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if each not in left_out]
        yield from (Path(root, name) for name in names if not Path(root, name).is_symlink())


def _keeps_access_times(folder: Path) -> bool:
    """Tell whether reading a file here changes its access time, by a file of ours."""
    probe = folder / f".metta-probe-{os.getpid()}"
    try:
        probe.write_text("x")
        written = probe.stat().st_mtime_ns
        os.utime(probe, ns=(written - 1, written))
        probe.read_text()
        return probe.stat().st_atime_ns > written - 1
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
