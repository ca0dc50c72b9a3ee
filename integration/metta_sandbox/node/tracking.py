"""A trial's W&B run, offline, opened by rank 0's rollout and by nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from metta_sandbox.scenario.values import Value

#: Fields of an event that say who and when; W&B has columns of its own for them.
_IDENTITY = frozenset(
    (
        *("event", "node", "node_rank", "rank", "local_rank", "trial", "run", "group", "step"),
        *("pid", "seq", "mono", "wall"),
    )
)


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
    """One W&B run.

    Args:
        folder: Where the ``wandb`` folder is made.
        sweep: The sweep's name, which groups its runs.
        run: The run's name, which is its id too.
        overrides: The trainer's settings.
        project: The W&B project.

    """

    def __init__(
        self, folder: Path, sweep: str, run: str, overrides: Mapping[str, Value], project: str
    ) -> None:
        import wandb  # noqa: PLC0415 - only rank 0 needs it, and it is slow to import

        self.id = run
        self._run: WandbRun = wandb.init(
            dir=folder,
            project=project,
            group=sweep,
            name=run,
            id=run,
            config=dict(overrides),
            mode="offline",
            reinit="finish_previous",
            settings=_settings(wandb),
        )

    def log_step(self, record: Mapping[str, Any]) -> None:
        """Log the metrics of a ``train.step`` event, as ``train/<name>``.

        The prefix keeps a metric of training from passing for the trial's score of the same name.
        """
        metrics = {
            f"train/{key}": value
            for key, value in record.items()
            if key not in _IDENTITY and isinstance(value, (int, float))
        }
        self._run.log(metrics, step=record.get("step"))

    def observe(self, observation: Mapping[str, Any]) -> None:
        """Write the trial's observation into the summary."""
        for key, value in observation.items():
            self._run.summary[key] = value

    def finish(self, *, failed: bool) -> None:
        """End the run."""
        self._run.finish(exit_code=1 if failed else 0)
