"""What must hold after a sweep: one small model per kind of expectation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Discriminator, Field, Tag

from metta_sandbox.scenario.base import Part
from metta_sandbox.scenario.expect.bounds import Bounds, Kind, Level
from metta_sandbox.scenario.expect.records import Api, Events, Log, Moment, Wandb
from metta_sandbox.scenario.expect.trials import (
    Checkpoint,
    CostLevel,
    Digests,
    Exits,
    Overrides,
    RunNames,
    ScoreLevel,
    Trials,
    word_for,
)
from metta_sandbox.scenario.expect.whole import (
    Ends,
    NothingOutside,
    PlainlyNothingOutside,
    SameAs,
    Took,
)

__all__ = [
    "KINDS",
    "Api",
    "Bounds",
    "Checkpoint",
    "CheckpointExpectation",
    "CostLevel",
    "Digests",
    "DigestsExpectation",
    "Ends",
    "EndsExpectation",
    "Events",
    "Exits",
    "Expectation",
    "Item",
    "Kind",
    "Level",
    "Log",
    "Moment",
    "NothingOutside",
    "Overrides",
    "RunNames",
    "RunNamesExpectation",
    "SameAs",
    "ScoreLevel",
    "Took",
    "Trials",
    "Wandb",
    "kind_of",
]


class Item(Part):
    """An item of ``expect``: one key, which names the kind, and what it says."""

    @property
    def key(self) -> str:
        """The kind's key."""
        return next(iter(type(self).model_fields))

    @property
    def said(self) -> Kind:
        """What it says."""
        found: Kind = getattr(self, self.key)
        return found


class TrialsExpectation(Item):
    """``trials: …``."""

    trials: Trials = Field(description="How many trials completed, failed and are pending.")


class RunNamesExpectation(Item):
    """``run_names: …``."""

    run_names: RunNames = Field(description="The names that trials get.")


class OverridesExpectation(Item):
    """``overrides: …``."""

    overrides: Overrides = Field(description="The settings that trials train with.")


class DigestsExpectation(Item):
    """``digests: …``."""

    digests: Annotated[Digests, word_for("are", Digests)] = Field(
        description="How ranks' parameters compare at the end of a trial: equal, different."
    )


class ScoreExpectation(Item):
    """``score: …``."""

    score: ScoreLevel = Field(description="The scores of completed trials.")


class CostExpectation(Item):
    """``cost: …``."""

    cost: CostLevel = Field(description="The costs of trials.")


class WandbExpectation(Item):
    """``wandb: …``."""

    wandb: Wandb = Field(description="What stands in the offline W&B runs.")


class ApiExpectation(Item):
    """``api: …``."""

    api: Api = Field(description="How often a route of the control plane is called.")


class LogExpectation(Item):
    """``log: …``."""

    log: Log = Field(description="What a log says, or doesn't.")


class EventsExpectation(Item):
    """``events: …``."""

    events: Events = Field(description="What happens, and in which order.")


class CheckpointExpectation(Item):
    """``checkpoint: …``."""

    checkpoint: Annotated[Checkpoint, word_for("state", Checkpoint)] = Field(
        description="What checkpoints are: present, loadable."
    )


class ExitsExpectation(Item):
    """``exits: …``."""

    exits: Exits = Field(description="How ranks' processes end.")


class DurationExpectation(Item):
    """``duration: …``."""

    duration: Took = Field(description="How long something takes.")


class SameAsExpectation(Item):
    """``same_as: …``."""

    same_as: Annotated[SameAs, word_for("scenario", SameAs)] = Field(
        description="Another scenario whose trials are the same."
    )


class NothingOutsideExpectation(Item):
    """``nothing_outside: …``."""

    nothing_outside: PlainlyNothingOutside = Field(
        description="That no node asks for anything outside the stack."
    )


class EndsExpectation(Item):
    """``ends: …``."""

    ends: Annotated[Ends, word_for("how", Ends)] = Field(
        description="How the sweep ends, where that is not by itself on all nodes."
    )


#: Each kind of expectation under the one key that names it.
KINDS: Mapping[str, type[Item]] = {
    next(iter(kind.model_fields)): kind
    for kind in (
        *(TrialsExpectation, RunNamesExpectation, OverridesExpectation, DigestsExpectation),
        *(ScoreExpectation, CostExpectation, WandbExpectation, ApiExpectation, LogExpectation),
        *(EventsExpectation, CheckpointExpectation, ExitsExpectation, DurationExpectation),
        *(SameAsExpectation, NothingOutsideExpectation, EndsExpectation),
    )
}


def kind_of(value: Any) -> str | None:
    """Tell which kind of item a value is: by its one key."""
    if isinstance(value, Item):
        return value.key
    if isinstance(value, Mapping) and len(value) == 1:
        return str(next(iter(value)))
    return None


Expectation: TypeAlias = Annotated[
    Annotated[TrialsExpectation, Tag("trials")]
    | Annotated[RunNamesExpectation, Tag("run_names")]
    | Annotated[OverridesExpectation, Tag("overrides")]
    | Annotated[DigestsExpectation, Tag("digests")]
    | Annotated[ScoreExpectation, Tag("score")]
    | Annotated[CostExpectation, Tag("cost")]
    | Annotated[WandbExpectation, Tag("wandb")]
    | Annotated[ApiExpectation, Tag("api")]
    | Annotated[LogExpectation, Tag("log")]
    | Annotated[EventsExpectation, Tag("events")]
    | Annotated[CheckpointExpectation, Tag("checkpoint")]
    | Annotated[ExitsExpectation, Tag("exits")]
    | Annotated[DurationExpectation, Tag("duration")]
    | Annotated[SameAsExpectation, Tag("same_as")]
    | Annotated[NothingOutsideExpectation, Tag("nothing_outside")]
    | Annotated[EndsExpectation, Tag("ends")],
    Discriminator(kind_of),
]
"""What must hold after a scenario was played."""
