"""What must hold after a sweep, as a scenario lists it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union

from pydantic import Discriminator, Field, Tag, create_model

from metta_sandbox.scenario.base import Part
from metta_sandbox.scenario.expect.kind import CheckKind
from metta_sandbox.scenario.expect.kinds import CHECKS


class ExpectationItem(Part):
    """An item of ``expect``: one key, which names the kind, and what it says."""

    @property
    def key(self) -> str:
        """The kind's key."""
        return next(iter(type(self).model_fields))

    @property
    def said(self) -> CheckKind:
        """What the item asks for, by its kind's model."""
        found: CheckKind = getattr(self, self.key)
        return found


#: Each kind of expectation under the one key that names it.
KINDS: Mapping[str, type[ExpectationItem]] = {
    key: create_model(
        f"{''.join(word.capitalize() for word in key.split('_'))}Expectation",
        __base__=ExpectationItem,
        __doc__=f"``{key}: …``.",
        **{key: (kind.spelt(), Field(description=kind.about))},  # type: ignore[call-overload]
    )
    for key, kind in ((each.kind.key, each.kind) for each in CHECKS)
}


def kind_of(value: Any) -> str | None:
    """Tell which kind of item a value is: by its one key."""
    if isinstance(value, ExpectationItem):
        return value.key
    if isinstance(value, Mapping) and len(value) == 1:
        return str(next(iter(value)))
    return None


if TYPE_CHECKING:
    Expectation: TypeAlias = ExpectationItem
    """What must hold."""
else:
    Expectation = Annotated[
        Union[  # noqa: UP007 - of as many as there are
            tuple(Annotated[item, Tag(key)] for key, item in KINDS.items())
        ],
        Discriminator(kind_of),
    ]
