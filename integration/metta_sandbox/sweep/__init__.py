"""Search spaces and the strategies that suggest points in them: our own, and others'."""

from metta_sandbox.sweep.making import create
from metta_sandbox.sweep.strategy import ExhaustedError, Observation, Pruning, Strategy, Suggestion

__all__ = ["ExhaustedError", "Observation", "Pruning", "Strategy", "Suggestion", "create"]
