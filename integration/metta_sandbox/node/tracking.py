"""A trial's W&B run, offline, opened by rank 0's rollout and by nobody else."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from metta_sandbox.errors import SandboxError
from metta_sandbox.node.agent.events import Record
from metta_sandbox.scenario.values import Value

#: Fields of an event that say who and when; W&B has columns of its own for them.
_IDENTITY = frozenset(
    (
        *("event", "node", "node_rank", "rank", "local_rank", "trial", "run", "group", "step"),
        *("pid", "seq", "mono", "wall"),
    )
)


class TrackerError(SandboxError):
    """W&B could not begin a run."""


class WandbRun(Protocol):
    """What is used of ``wandb.Run``."""

    def log(self, data: dict[str, Any], step: int | None = None) -> None:
        """Add a row to the history."""
        ...

    @property
    def summary(self) -> Any:
        """The run's summary."""
        ...

    def finish(self, exit_code: int | None = None) -> None:
        """End the run."""
        ...


def start_tracker() -> None:
    """Import W&B and start its service, which the first run would wait for."""
    import wandb  # noqa: PLC0415 - only rank 0 needs it, and it is slow to import

    wandb.setup(settings=_settings(wandb))


def _settings(wandb: Any) -> Any:
    return wandb.Settings(console="off", silent=True, disable_git=True)


class TrackedRun:
    """A trial's W&B run.

    What W&B does with it later can't harm whoever tracks: the first that goes wrong is kept as
    ``problem``, and from then on nothing is tracked any more.

    Args:
        folder: Where the ``wandb`` folder is made.
        sweep: The sweep's name, which groups its runs.
        run: The run's name, which is its id too.
        overrides: The trainer's settings.
        project: The W&B project.

    Raises:
        TrackerError: W&B can't begin it, not even with a service of its own.

    """

    def __init__(
        self, folder: Path, sweep: str, run: str, overrides: Mapping[str, Value], project: str
    ) -> None:
        self.id = run
        self.problem = ""
        wanted = {
            "dir": folder,
            "project": project,
            "group": sweep,
            "name": run,
            "id": run,
            "config": dict(overrides),
        }
        try:
            self._run = _begin(wanted)
        except Exception:  # noqa: BLE001 - of any kind, once the service is gone
            _end_service()
            try:
                self._run = _begin(wanted)
            except Exception as error:
                raise TrackerError(
                    f"wandb can't begin the run {run}: {_told(error)}",
                    f"can files be made in {folder / 'wandb'}?",
                ) from error

    def log_step(self, record: Record) -> None:
        """Log the metrics of a ``train.step`` event, as ``train/<name>``.

        The prefix keeps a metric of training from passing for the trial's score of the same name.
        """
        metrics = {
            f"train/{key}": value
            for key, value in record.items()
            if key not in _IDENTITY and isinstance(value, (int, float))
        }
        self._attempt(lambda: self._run.log(metrics, step=record.get("step")))

    def finish(self, observation: Mapping[str, Any], *, failed: bool) -> None:
        """Write the trial's observation into the summary, and end the run."""
        for key, value in observation.items():
            self._attempt(partial(operator.setitem, self._run.summary, key, value))
        self._attempt(lambda: self._run.finish(exit_code=1 if failed else 0))
        if self.problem:
            # The next run gets a service that knows nothing of this one.
            _end_service()

    def _attempt(self, step: Callable[[], object]) -> None:
        """Call W&B, unless a call has failed before; keeps the failure as ``problem``."""
        if self.problem:
            return
        try:
            step()
        except Exception as error:  # noqa: BLE001 - of any kind, once the service is gone
            self.problem = _told(error)


def _begin(wanted: Mapping[str, Any]) -> WandbRun:
    import wandb  # noqa: PLC0415 - only rank 0 needs it, and it is slow to import

    run: WandbRun = wandb.init(
        **wanted, mode="offline", reinit="finish_previous", settings=_settings(wandb)
    )
    return run


def _end_service() -> None:
    """Forget W&B's service, whatever is left of it; the next run starts another."""
    import wandb  # noqa: PLC0415 - only rank 0 needs it, and it is slow to import

    with suppress(Exception):  # it says so, too, when the service has gone before
        wandb.teardown(exit_code=1)


def _told(error: Exception) -> str:
    """Describe an exception: its type and its message."""
    return ": ".join(part for part in (type(error).__name__, str(error)) if part)
