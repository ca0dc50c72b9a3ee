"""What faults of a trial's file have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TypeVar

from pydantic import Field, field_validator

from metta_sandbox.errors import StackError
from metta_sandbox.scenario.base import Misfit
from metta_sandbox.scenario.faults.base import FaultKind
from metta_sandbox.scenario.faults.executor import StateExecutor
from metta_sandbox.scenario.faults.trigger import Trigger
from metta_sandbox.scenario.workload import Workload


class TrialFileFault(FaultKind):
    """A fault of one file of the trial that sets it off."""

    family = "files"

    file: str = Field(min_length=1, description="Its name in the folder of the trigger's trial.")

    @field_validator("file")
    @classmethod
    def _is_inside(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise ValueError("expected a file's name, or a path from the trial's folder")
        return value

    def misplaced(self, when: Trigger | None, workload: Workload) -> Iterator[Misfit]:
        """Refuse what names no trial."""
        if workload.run is not None:
            yield (self.key,), "workload.run has no trials that are known"
        elif when is not None and when.event is None:
            yield ("when",), "expected an event of a trial, such as checkpoint.saved"


F = TypeVar("F", bound=TrialFileFault)


class TrialFileExecutor(StateExecutor[F]):
    """Strikes a trial's file where it lies in the folder that nodes share."""

    @property
    def path(self) -> Path:
        """The file, in the folder of the trial that set the fault off.

        Raises:
            StackError: What set the fault off names no trial.

        """
        run = self.moment.get("run")
        if not run:
            raise StackError("what set it off names no run, so no trial's folder")
        return self.context.plan.run_folder / "trials" / str(run) / self.said.file
