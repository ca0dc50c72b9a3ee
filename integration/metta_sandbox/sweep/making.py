"""Making the strategy that a sweep asks for."""

from __future__ import annotations

from metta_sandbox.scenario.search import Sweep
from metta_sandbox.sweep.strategy import Strategy


def create(sweep: Sweep, seed: int) -> Strategy:
    """Make the strategy that a sweep asks for; observations so far are then given to ``observe``.

    Args:
        sweep: The search.
        seed: The scenario's seed, 0 or more.

    """
    # Imported here so that a grid needs no scikit-learn, and nobody waits a second for it.
    if sweep.strategy == "grid":
        from metta_sandbox.sweep.grid import Grid  # noqa: PLC0415

        return Grid(sweep)
    if sweep.strategy == "random":
        from metta_sandbox.sweep.chance import Chance  # noqa: PLC0415

        return Chance(sweep, seed)
    from metta_sandbox.sweep.protein import Protein  # noqa: PLC0415

    return Protein(sweep, seed)
