"""Search spaces and the strategies that suggest points in them: protein, random, grid."""

from metta_sandbox.sweep.strategy import (
    ExhaustedError,
    Observation,
    Strategy,
    Suggestion,
    create,
)

__all__ = ["ExhaustedError", "Observation", "Strategy", "Suggestion", "create"]
