"""What was found to be the cause of a failure."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal[
    "process died",
    "killed by the kernel",
    "stopped",
    "exception",
    "collective mismatch",
    "rank missing at rendezvous",
    "peer unreachable",
    "straggler",
    "API refused",
    "API slow",
    "different overrides",
    "run name repeated",
    "NaN",
    "disk full",
    "waiting for a lock",
    "waiting for the GIL",
    "port taken",
    "tracker failed",
    "node lost",
    "deadlock",
]

#: How sure it is: seen, inferred from less than all that would show it, or not known.
Certainty = Literal["certain", "likely", "unknown"]


class WaitingRank(BaseModel):
    """A rank that waits for others, and at which call."""

    model_config = ConfigDict(frozen=True)

    rank: int = Field(description="Which rank waits.")
    call: str = Field(description="The call in which it waits, and where.")
    left: bool = Field(
        default=False, description="Whether it gave up when the other side was gone."
    )


class WaitFor(BaseModel):
    """That one rank waits for another one, and how that is known."""

    model_config = ConfigDict(frozen=True)

    rank: int = Field(description="Who waits.")
    awaited: int | None = Field(description="For whom; null where nobody knows.")
    call: str = Field(default="", description="The call in which it waits, and where.")
    evidence: str = Field(default="", description="What shows it.")


class Cause(BaseModel):
    """What happened first."""

    model_config = ConfigDict(frozen=True)

    kind: Kind = Field(description="The kind of cause.")
    sentence: str = Field(description="What happened first, to whom and where, and who waits.")
    node: str = Field(default="", description="The host it happened on.")
    rank: int | None = Field(default=None, description="The rank to blame, if it is one.")
    trial: int | None = Field(default=None, description="The trial it happened in.")
    step: int | None = Field(default=None, description="The last training step it had done.")
    call: str = Field(default="", description="The call it was in.")
    waiting: tuple[WaitingRank, ...] = Field(default=(), description="Who waits because of it.")
    certainty: Certainty = Field(
        default="certain",
        description="How sure it is: seen, inferred from less than would show it, or not known.",
    )
    waits: tuple[WaitFor, ...] = Field(
        default=(), description="Who waits for whom, of all ranks that were seen."
    )
    evidence: tuple[str, ...] = Field(default=(), description="What it was told from.")

    @property
    def told(self) -> str:
        """The sentence with how sure it is, and what it stands on."""
        seen = f": {', '.join(self.evidence)}" if self.evidence else ""
        return f"{self.sentence} ({self.certainty}{seen})"
