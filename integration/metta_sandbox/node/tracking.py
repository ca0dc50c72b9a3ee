"""A trial's W&B run, offline, opened by rank 0's rollout and by nobody else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
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

    A thread of its own calls W&B, one call after another, so that neither the hand-off nor training
    waits for it. Whatever goes wrong there can't harm whoever tracks: the first problem is kept as
    ``problem``, and from then on nothing is tracked any more.

    Args:
        folder: Where the ``wandb`` folder is made.
        sweep: The sweep's name, which groups its runs.
        run: The run's name, which is its id too.
        overrides: The trainer's settings.
        project: The W&B project.
        begun: Called, in that thread, once the run has begun.

    """

    def __init__(
        self,
        folder: Path,
        sweep: str,
        run: str,
        overrides: Mapping[str, Value],
        project: str,
        begun: Callable[[], None],
    ) -> None:
        self.id = run
        self.problem = ""
        self._run: WandbRun | None = None
        self._folder = folder
        self._calls = ThreadPoolExecutor(1, "wandb")
        wanted = {
            "dir": folder,
            "project": project,
            "group": sweep,
            "name": run,
            "id": run,
            "config": dict(overrides),
        }
        self._calls.submit(self._open, wanted, begun)

    def log_step(self, record: Record) -> None:
        """Log the metrics of a ``train.step`` event, as ``train/<name>``.

        The prefix keeps a metric of training from passing for the trial's score of the same name.
        """
        metrics = {
            f"train/{key}": value
            for key, value in record.items()
            if key not in _IDENTITY and isinstance(value, (int, float))
        }
        self._calls.submit(self._attempt, lambda run: run.log(metrics, step=record.get("step")))

    def finish(self, observation: Mapping[str, Any], *, failed: bool) -> None:
        """Write the trial's observation into the summary, end the run, and wait for all of it.

        Raises:
            TrackerError: W&B could not begin it, not even with a service of its own.

        """
        with self._calls as calls:
            for key, value in observation.items():
                calls.submit(self._attempt, partial(_summarise, key, value))
            calls.submit(self._attempt, lambda run: run.finish(exit_code=1 if failed else 0))
        if self._run is None:
            raise TrackerError(
                f"wandb can't begin the run {self.id}: {self.problem}",
                f"can files be made in {self._folder / 'wandb'}?",
            )
        if self.problem:
            # The next run gets a service that knows nothing of this one.
            _end_service()

    def _open(self, wanted: Mapping[str, Any], begun: Callable[[], None]) -> None:
        try:
            self._run = _begin(wanted)
        except Exception:  # noqa: BLE001 - of any kind, once the service is gone
            _end_service()
            try:
                self._run = _begin(wanted)
            except Exception as error:  # noqa: BLE001
                self.problem = _told(error)
                return
        begun()

    def _attempt(self, step: Callable[[WandbRun], object]) -> None:
        """Call W&B, unless a call has failed before; keeps the failure as ``problem``."""
        if self._run is None or self.problem:
            return
        try:
            step(self._run)
        except Exception as error:  # noqa: BLE001 - of any kind, once the service is gone
            self.problem = _told(error)


def _summarise(key: str, value: object, run: WandbRun) -> None:
    run.summary[key] = value


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
