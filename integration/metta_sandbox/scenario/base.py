"""What every part of a scenario file has in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer
from pydantic_core import PydanticCustomError

#: One fault a validator found: the keys that lead to it from its own value, and what is wrong.
Misfit: TypeAlias = tuple[tuple[str | int, ...], str]
#: The hosts that something names, each with the keys that lead to it.
NamedHosts: TypeAlias = tuple[tuple[tuple[str | int, ...], str], ...]


class Part(BaseModel):
    """A frozen, strict piece of a scenario; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _leave_out_what_is_not_said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None}


def misfit(faults: Sequence[Misfit]) -> PydanticCustomError:
    """Make the error of a validator that found several faults, or one deeper than its value."""
    text = "; ".join(message for _, message in faults)
    return PydanticCustomError("misfit", "{text}", {"text": text, "faults": list(faults)})
