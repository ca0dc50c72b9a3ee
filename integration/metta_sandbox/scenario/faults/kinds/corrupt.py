"""A file of a trial is damaged."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import Field

from metta_sandbox import beneath
from metta_sandbox.scenario.faults.executor import FaultPair, Observed
from metta_sandbox.scenario.faults.files import TrialFileExecutor, TrialFileFault

#: Bytes in a file's middle that garbage goes over.
_GARBAGE = 256
#: Bytes of a file that can be damaged.
_MOST = 1 << 30


class CorruptFault(TrialFileFault):
    """A file of a trial, such as its checkpoint or its overrides, is damaged."""

    key = "corrupt"
    healing = "the file is as it was, unless somebody has written it anew"
    must_heal = False
    proof = "the file's size and digest, before and after"
    voids = frozenset({"checkpoints"})
    example = (
        "{corrupt: {file: checkpoint.pt, how: half}, when: {event: checkpoint.saved, trial: 1}}"
    )

    how: Literal["half", "empty", "garbage"] = Field(
        default="half",
        description="Half of it is there, nothing is, or bytes in its middle are others.",
    )

    def __str__(self) -> str:
        words = {"half": "half written", "empty": "emptied", "garbage": "overwritten in part"}
        return f"{self.file} is {words[self.how]}"


class CorruptFile(TrialFileExecutor[CorruptFault]):
    """Damages a file of a trial in place."""

    _whole = b""
    _damaged = b""

    def before(self) -> Observed:
        """See that the file is there, and not empty."""
        self._whole = self._read()
        return Observed(bool(self._whole), f"{self.said.file} has {_digest(self._whole)}")

    def inject(self) -> None:
        """Overwrite the file with what damage leaves of it."""
        self._damaged = damage(self._whole, self.said.how)
        self._write(self._damaged)

    def during(self) -> Observed:
        """See that the file is the damaged one."""
        now = self._read()
        holds = now == self._damaged != self._whole
        return Observed(holds, f"{self.said.file} has {_digest(now)}")

    def heal(self) -> None:
        """Write the file as it was, unless somebody else has written it since."""
        if self._damaged != self._whole and self._read() == self._damaged:
            self._write(self._whole)

    def after(self) -> Observed:
        """See that the file is not the damaged one any more."""
        now = self._read()
        return Observed(now != self._damaged, f"{self.said.file} has {_digest(now)}")

    def _read(self) -> bytes:
        return beneath.read_bytes(self.context.plan.run_folder, self.path, most=_MOST)

    def _write(self, content: bytes) -> None:
        beneath.overwrite(self.context.plan.run_folder, self.path, content)


def damage(content: bytes, how: str) -> bytes:
    """Give what is left of a file: ``half`` of it, nothing (``empty``), or ``garbage`` inside."""
    if how == "half":
        return content[: len(content) // 2]
    if how == "empty":
        return b""
    begin = max(0, (len(content) - _GARBAGE) // 2)
    middle = content[begin : begin + _GARBAGE]
    return content[:begin] + bytes(each ^ 0xFF for each in middle) + content[begin + _GARBAGE :]


def _digest(content: bytes) -> str:
    return f"{len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()[:12]}"


FAULT = FaultPair(CorruptFault, CorruptFile)
