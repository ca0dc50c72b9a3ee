"""W&B's folder can't be written to."""

from __future__ import annotations

import secrets
from pathlib import Path

from metta_sandbox import beneath
from metta_sandbox.scenario.faults.base import FaultKind
from metta_sandbox.scenario.faults.executor import FaultPair, Observed, StateExecutor


class WandbFolderFault(FaultKind):
    """The folder of W&B's runs can't be written to."""

    key = "wandb_folder"
    family = "files"
    trigger = "may"
    healing = "the folder is as it was"
    proof = "a file could be made in it, can't, and can again"
    voids = frozenset({"W&B runs"})
    example = "{wandb_folder: {}, when: {event: suggestion.made, trial: 2}}"

    def __str__(self) -> str:
        return "W&B's folder can't be written to"


class BlockWandbFolder(StateExecutor[WandbFolderFault]):
    """Puts a file where W&B's folder is. Permissions would not keep root out."""

    @property
    def folder(self) -> Path:
        """W&B's folder."""
        return self.context.plan.run_folder / "wandb"

    @property
    def _aside(self) -> Path:
        return self.folder.with_name(".wandb-aside")

    def inject(self) -> None:
        """Move the folder aside, and put a file in its place."""
        if self.folder.is_dir():
            self.folder.rename(self._aside)
        beneath.create(self.context.plan.run_folder, self.folder)

    def heal(self) -> None:
        """Remove the file, and move the folder back."""
        if beneath.size_of(self.context.plan.run_folder, self.folder) is not None:
            self.folder.unlink()
        if self._aside.is_dir() and not self.folder.exists():
            self._aside.rename(self.folder)

    def look(self, *, struck: bool) -> Observed:
        """Try to make a file in the folder."""
        root, probe = self.context.plan.run_folder, self.folder / f".probe-{secrets.token_hex(8)}"
        made = self.folder.exists()
        try:
            self.folder.mkdir(exist_ok=True)
            beneath.create(root, probe)
            beneath.unlink(root, probe)
            if not made:
                self.folder.rmdir()
        except OSError as error:
            return Observed(struck, f"no file can be made in wandb/: {error.strerror}")
        return Observed(not struck, "a file can be made in wandb/")


FAULT = FaultPair(WandbFolderFault, BlockWandbFolder)
