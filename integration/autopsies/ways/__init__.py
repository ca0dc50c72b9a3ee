"""Ways of going wrong that no fault makes: plain PyTorch scripts, and the truth about each."""

from __future__ import annotations

from autopsies.ways.collectives import COLLECTIVES
from autopsies.ways.ends import ENDS
from autopsies.ways.fine import FINE
from autopsies.ways.waits import WAITS
from autopsies.ways.way import TRAINERS, Way

WAYS: tuple[Way, ...] = (*COLLECTIVES, *ENDS, *WAITS, *FINE)

__all__ = ["TRAINERS", "WAYS", "Way"]
