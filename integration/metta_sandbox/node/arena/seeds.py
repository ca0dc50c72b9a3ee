"""Every random draw of a run, named: which stream, rank, iteration and arena it belongs to.

Nothing random lives longer than an iteration. That is what lets a resumed run continue exactly
without any generator's state in its checkpoint.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a seed is for. Draws of different streams have nothing in common."""

    POLICY = 0
    ARENA = 1
    ACTIONS = 2
    MINIBATCHES = 3
    EVALUATION = 4


def derive(seed: int, stream: Stream, *key: int) -> int:
    """Derive the seed of one use from the run's seed.

    Args:
        seed: The run's seed, not negative.
        stream: What it is for.
        key: Which of them, such as (rank, iteration, arena).

    Returns:
        A number in [0, 2**31), the range all libraries take. Equal arguments give equal numbers;
        see NumPy's ``SeedSequence`` for how others are kept apart.

    """
    sequence = np.random.SeedSequence(seed, spawn_key=(int(stream), *key))
    return int(sequence.generate_state(1, np.uint32)[0]) >> 1
