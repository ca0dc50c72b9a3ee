"""Carrying out faults of files."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import Any

from metta_sandbox import beneath
from metta_sandbox.errors import StackError
from metta_sandbox.faults.executor import Executor, Observed
from metta_sandbox.scenario.faults import Corrupt, WandbFolder

#: Bytes in a file's middle that garbage goes over.
_GARBAGE = 256
#: Bytes of a file that can be damaged.
_MOST = 1 << 30


class CorruptFile(Executor[Corrupt]):
    """Damages a file of a trial in place."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._whole = b""
        self._damaged = b""

    @property
    def path(self) -> Path:
        """The file.

        Raises:
            StackError: What set the fault off names no trial.

        """
        run = self.moment.get("run")
        if not run:
            raise StackError("what set it off names no run, so no trial's folder")
        return self.context.plan.run_folder / "trials" / str(run) / self.said.file

    def before(self) -> Observed:
        """See that it is there, and not empty."""
        self._whole = self._read()
        return Observed(bool(self._whole), f"{self.said.file} has {_digest(self._whole)}")

    def inject(self) -> None:
        """Write what is left of it over it."""
        self._damaged = damage(self._whole, self.said.how)
        self._write(self._damaged)

    def during(self) -> Observed:
        """See that it is another."""
        now = self._read()
        holds = now == self._damaged != self._whole
        return Observed(holds, f"{self.said.file} has {_digest(now)}")

    def heal(self) -> None:
        """Write it as it was, unless somebody else has written it."""
        if self._damaged != self._whole and self._read() == self._damaged:
            self._write(self._whole)

    def after(self) -> Observed:
        """See that it is not the damaged one any more."""
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


class BlockWandbFolder(Executor[WandbFolder]):
    """Puts a file where W&B's folder is. Permissions would not keep root out."""

    @property
    def folder(self) -> Path:
        """W&B's folder."""
        return self.context.plan.run_folder / "wandb"

    @property
    def _aside(self) -> Path:
        return self.folder.with_name(".wandb-aside")

    def before(self) -> Observed:
        """See that a file can be made in it."""
        return self._look(writable=True)

    def inject(self) -> None:
        """Move it aside."""
        if self.folder.is_dir():
            self.folder.rename(self._aside)
        beneath.create(self.context.plan.run_folder, self.folder)

    def during(self) -> Observed:
        """None can."""
        return self._look(writable=False)

    def heal(self) -> None:
        """Move it back."""
        if beneath.size_of(self.context.plan.run_folder, self.folder) is not None:
            self.folder.unlink()
        if self._aside.is_dir() and not self.folder.exists():
            self._aside.rename(self.folder)

    def after(self) -> Observed:
        """See that a file can be made in it."""
        return self._look(writable=True)

    def _look(self, *, writable: bool) -> Observed:
        root, probe = self.context.plan.run_folder, self.folder / f".probe-{secrets.token_hex(8)}"
        made = self.folder.exists()
        try:
            self.folder.mkdir(exist_ok=True)
            beneath.create(root, probe)
            beneath.unlink(root, probe)
            if not made:
                self.folder.rmdir()
        except OSError as error:
            return Observed(not writable, f"no file can be made in wandb/: {error.strerror}")
        return Observed(writable, "a file can be made in wandb/")


def _digest(content: bytes) -> str:
    return f"{len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()[:12]}"
