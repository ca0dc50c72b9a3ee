"""A file of a trial is slow to read.

The kernel's leases bring it about (``fcntl(2)``, ``F_SETLEASE``): whoever opens a file that another
process holds a lease on waits until that gives it up. It works for whoever shares this kernel, so
for local processes and for containers of this machine, and for files that belong to who holds the
lease, or to anybody if that is root.
"""

from __future__ import annotations

import fcntl
import signal
import sys
import time
from contextlib import suppress
from threading import Event, Thread
from typing import BinaryIO

from pydantic import Field

from metta_sandbox import beneath
from metta_sandbox.errors import StackError
from metta_sandbox.scenario.faults.executor import FaultPair, Observed
from metta_sandbox.scenario.faults.files import TrialFileExecutor, TrialFileFault
from metta_sandbox.scenario.units import Duration
from metta_sandbox.words import time as words_for

#: Seconds after which the kernel takes a lease away, less some.
_LONGEST = 30
#: Seconds that whoever waited gets to open the file before it is held again, and between two looks.
_OPENING, _LOOK = 0.25, 0.005
#: Seconds until others have closed the file, so that it can be held; and until a look gives up.
_CLOSING, _PATIENCE = 5.0, 10.0


class SlowFileFault(TrialFileFault):
    """A file of a trial, such as its checkpoint, is slow to read: whoever opens it waits."""

    key = "slow_file"
    harmless = True
    healing = "it opens at once"
    proof = "how long it took to read the file, takes, and takes again"
    example = (
        "{slow_file: {file: checkpoint.pt, by: 500ms}, when: {event: checkpoint.saved, trial: 1}}"
    )

    by: Duration = Field(ge=0.1, le=_LONGEST, description="How much later it opens.")

    def __str__(self) -> str:
        return f"{self.file} opens {words_for(self.by)} late"


class SlowDownFile(TrialFileExecutor[SlowFileFault]):
    """Holds a lease on the file, and gives it up late each time that somebody opens it."""

    _lease: _Lease | None = None

    def inject(self) -> None:
        """Take a lease on the file."""
        opened = beneath.open_file(self.context.plan.run_folder, self.path, most=None)
        lease = _Lease(opened, self.said.by)
        lease.start()
        self._lease = lease

    def during(self) -> Observed:
        """See that whoever reads the file waits."""
        observed = super().during()
        if self._lease:
            # So that the next one waits, too.
            self._lease.held.wait(_CLOSING)
        return observed

    def heal(self) -> None:
        """Give the lease up."""
        if self._lease:
            self._lease.stop()

    def look(self, *, struck: bool) -> Observed:
        """Time how long it takes to read the file, which is tried again until it would not wait."""
        began = time.monotonic()
        while True:
            try:
                with beneath.open_file(self.context.plan.run_folder, self.path, most=None) as file:
                    file.read(1)
                break
            except BlockingIOError:
                if time.monotonic() > began + self.said.by + _PATIENCE:
                    return Observed(holds=False, seen=f"{self.said.file} can't be opened")
                time.sleep(_LOOK)
        took = time.monotonic() - began
        seen = f"{self.said.file} was read after {words_for(round(took, 3))}"
        return Observed((took >= self.said.by) is struck, seen)


class _Lease:
    """A lease on a file, taken again each time that it was given up.

    Args:
        file: The file.
        by: Seconds that whoever opens it waits.

    """

    def __init__(self, file: BinaryIO, by: float) -> None:
        self._file = file
        self._by = by
        self._over = Event()
        self._thread = Thread(target=self._hold, name="lease", daemon=True)
        #: Set while it is held, and nobody waits.
        self.held = Event()

    def start(self) -> None:
        """Take the lease, and keep it in a thread.

        Raises:
            StackError: The kernel gives no lease on the file.

        """
        deadline = time.monotonic() + _CLOSING
        while not self._taken():
            if time.monotonic() > deadline:
                self._file.close()
                raise StackError("others have the file open all the time")
            time.sleep(_LOOK)
        self._thread.start()

    def stop(self) -> None:
        """Give the lease up for good. Doing so twice is no error."""
        self._over.set()
        self._thread.join()

    def _hold(self) -> None:
        with self._file:
            while not self._over.wait(_LOOK):
                if not self.held.is_set():
                    with suppress(StackError):
                        self._taken()
                elif fcntl.fcntl(self._file, fcntl.F_GETLEASE) != fcntl.F_WRLCK:
                    self.held.clear()
                    self._over.wait(self._by)
                    fcntl.fcntl(self._file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
                    self._over.wait(_OPENING)

    def _taken(self) -> bool:
        """Take the lease if nobody has the file open, and tell whether that worked."""
        if sys.platform != "linux":
            raise StackError("only Linux has leases on files")
        # What tells that somebody waits must not end this process, as SIGIO would.
        fcntl.fcntl(self._file, fcntl.F_SETSIG, signal.SIGURG)
        try:
            fcntl.fcntl(self._file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except BlockingIOError:
            return False
        except OSError as error:
            raise StackError(f"the kernel gives no lease on the file: {error.strerror}") from error
        self.held.set()
        return True


FAULT = FaultPair(SlowFileFault, SlowDownFile)
