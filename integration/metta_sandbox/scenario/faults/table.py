"""The catalogue of faults as the documentation's table."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter

from metta_sandbox.scenario.faults import CATALOGUE
from metta_sandbox.scenario.faults.base import FaultKind


def catalogue() -> str:
    """Write a section for each family, and in it a row for each fault."""
    return "\n".join(
        f"### {family.capitalize()}\n\n"
        "| fault | what happens | keys | proof |\n| --- | --- | --- | --- |\n"
        f"{''.join(map(_row, kinds))}"
        for family, kinds in groupby(CATALOGUE.values(), key=attrgetter("family"))
    )


def _row(kind: type[FaultKind]) -> str:
    what = " ".join((kind.__doc__ or "").split())
    if kind.healing:
        what += f" Healed: {kind.healing}."
    keys = "; ".join(
        f"`{key}`: {(field.description or '').rstrip('.')}"
        for key, field in kind.model_fields.items()
    )
    return f"| `{kind.key}` | {what} | {keys or 'none'} | {kind.proof} |\n"
