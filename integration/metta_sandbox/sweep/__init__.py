"""Search spaces and the strategies that suggest points in them: protein, random, grid."""

from metta_sandbox.sweep.making import create
from metta_sandbox.sweep.strategy import ExhaustedError, Observation, Strategy, Suggestion

__all__ = ["ExhaustedError", "Observation", "Strategy", "Suggestion", "create"]
