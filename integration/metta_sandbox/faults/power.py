"""The power over whole nodes, under the names by which faults know it."""

from __future__ import annotations

from metta_sandbox.stack.engines.base import RUNS, STANDS_STILL, Power

__all__ = ["RUNS", "STANDS_STILL", "Power"]
