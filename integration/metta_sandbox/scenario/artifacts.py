"""How much of what nodes write is kept."""

from __future__ import annotations

from pydantic import Field

from metta_sandbox.scenario.base import Part
from metta_sandbox.scenario.units import Size


class Artifacts(Part):
    """How much of the folder that nodes share, and of what W&B's stand-in got, is kept."""

    size: Size = Field(
        default=4 * 2**30,
        description="Of all its files together. What is left out is told; small files go first.",
    )
    files: int = Field(default=50_000, ge=1, le=10_000_000, description="How many files.")
