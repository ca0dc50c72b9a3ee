"""Making the strategy that a sweep asks for."""

from __future__ import annotations

from pathlib import Path

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.search import Sweep
from metta_sandbox.sweep.own import Own
from metta_sandbox.sweep.strategy import Strategy


def create(sweep: Sweep, seed: int, folder: Path | None = None) -> Strategy:
    """Make the strategy that a sweep asks for; observations so far are then given to ``observe``.

    Args:
        sweep: The search.
        seed: The scenario's seed, 0 or more.
        folder: Where a class of the user's is looked for; default: the working folder.

    Raises:
        InputError: What it is to be made of is missing, or refuses its options.

    """
    # Imported here so that a grid needs no scikit-learn, and nobody waits a second for it.
    if sweep.strategy == "grid":
        from metta_sandbox.sweep.grid import Grid  # noqa: PLC0415

        return Grid(sweep)
    if sweep.strategy == "random":
        from metta_sandbox.sweep.chance import Chance  # noqa: PLC0415

        return Chance(sweep, seed)
    if ":" in sweep.strategy:
        return Own(sweep, seed, folder or Path.cwd())
    try:
        if sweep.strategy == "optuna":
            from metta_sandbox.sweep.with_optuna import Optuna  # noqa: PLC0415

            return Optuna(sweep, seed)
        if sweep.strategy == "wandb":
            from metta_sandbox.sweep.with_wandb import Wandb  # noqa: PLC0415

            return Wandb(sweep, seed)
    except ModuleNotFoundError as error:
        raise InputError(
            f"sweep.strategy: {sweep.strategy} needs {error.name}, which is not installed here",
            "pip install 'metta-sandbox[search]'",
        ) from error
    from metta_sandbox.sweep.protein import Protein  # noqa: PLC0415

    return Protein(sweep, seed)
