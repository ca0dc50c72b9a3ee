"""What can be made to go wrong: the catalogue of faults, as a scenario lists them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union

from pydantic import BeforeValidator, Discriminator, Field, Tag, create_model

from metta_sandbox.scenario.base import Part
from metta_sandbox.scenario.faults.base import FaultKind
from metta_sandbox.scenario.faults.executor import Executor
from metta_sandbox.scenario.faults.kinds import FAULTS
from metta_sandbox.scenario.faults.trigger import Trigger

#: Every kind of fault under the one key that names it.
CATALOGUE: Mapping[str, type[FaultKind]] = {each.kind.key: each.kind for each in FAULTS}
#: What carries each out.
EXECUTORS: Mapping[type[FaultKind], type[Executor[Any]]] = {
    each.kind: each.executor for each in FAULTS
}


class FaultItem(Part):
    """An item of ``faults``: one key that names the kind, and when it strikes."""

    name: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        description="Its name in reports, and for other faults' triggers. Default: the kind's.",
    )
    when: Trigger | None = Field(default=None, description="What sets it off.")
    until: Trigger | None = Field(
        default=None, description="What ends it. Default: it lasts until the sweep is over."
    )

    @property
    def key(self) -> str:
        """The kind's key."""
        return next(key for key in type(self).model_fields if key not in FaultItem.model_fields)

    @property
    def said(self) -> FaultKind:
        """The fault's target and parameters, by its kind's model."""
        found: FaultKind = getattr(self, self.key)
        return found

    def __str__(self) -> str:
        start = "" if self.when is None else f", when: {self.when}"
        return f"{self.said}{start}{'' if self.until is None else f', until: {self.until}'}"


def _described(kind: type[FaultKind]) -> str:
    return f"{' '.join((kind.__doc__ or '').split())} Proof: {kind.proof}."


_ITEMS: Mapping[str, type[FaultItem]] = {
    key: create_model(
        f"{kind.__name__.removesuffix('Fault')}FaultItem",
        __base__=FaultItem,
        __doc__=f"``{key}: …``.",
        **{key: (kind, Field(description=_described(kind)))},  # type: ignore[call-overload]
    )
    for key, kind in CATALOGUE.items()
}


def _kind_of(value: Any) -> str | None:
    """Tell which kind of fault a value is: by its one key that no other has.

    The tag is not the key itself, which would pass for a part of an error's place.
    """
    if isinstance(value, FaultItem):
        return f"{value.key} fault"
    if not isinstance(value, Mapping):
        return None
    known = [f"{key} fault" for key in value if key in CATALOGUE]
    others = [str(key) for key in value if key not in FaultItem.model_fields]
    return (known or others)[0]


def _has_one_kind(value: Any) -> Any:
    if isinstance(value, Mapping):
        kinds = [key for key in value if key in CATALOGUE]
        if len(kinds) > 1:
            raise ValueError(f"expected one fault, not {' and '.join(kinds)}")
        if all(key in FaultItem.model_fields for key in value):
            raise ValueError("expected a key that names the fault, such as kill")
    return value


if TYPE_CHECKING:
    AnyFault: TypeAlias = FaultItem
    """What can be made to go wrong."""
else:
    AnyFault = Annotated[
        Annotated[
            Union[  # noqa: UP007 - of as many as there are
                tuple(Annotated[item, Tag(f"{key} fault")] for key, item in _ITEMS.items())
            ],
            Discriminator(_kind_of),
        ],
        BeforeValidator(_has_one_kind),
    ]


def names_of(faults: Sequence[FaultItem]) -> list[str]:
    """Give each fault its name: its own, or its kind's, with a number from the second on."""
    found: list[str] = []
    unnamed: Counter[str] = Counter()
    for fault in faults:
        base = fault.key.replace("_", "-")
        unnamed[base] += fault.name is None
        found.append(fault.name or (f"{base}-{unnamed[base]}" if unnamed[base] > 1 else base))
    return found
