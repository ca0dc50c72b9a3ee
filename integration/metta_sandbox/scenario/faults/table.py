"""The catalogue as the documentation's table: ``python -m metta_sandbox.scenario.faults.table``."""

from __future__ import annotations

import sys
from itertools import groupby
from operator import attrgetter

from metta_sandbox.scenario.faults import CATALOGUE
from metta_sandbox.scenario.faults.base import FaultKind

#: Around the table in docs/faults.md.
BEGIN = "<!-- the catalogue, generated -->\n"
END = "<!-- the end of the catalogue -->\n"


def table() -> str:
    """Write a section for each family, and in it a row for each fault."""
    parts = [BEGIN]
    for family, kinds in groupby(CATALOGUE.values(), key=attrgetter("family")):
        parts += [f"\n### {family.capitalize()}\n\n", "| fault | what happens | keys | proof |\n"]
        parts.append("| --- | --- | --- | --- |\n")
        parts += [_row(kind) for kind in kinds]
    return "".join([*parts, "\n", END])


def _row(kind: type[FaultKind]) -> str:
    what = " ".join((kind.__doc__ or "").split())
    if kind.healing:
        what += f" Healed: {kind.healing}."
    keys = "; ".join(
        f"`{key}`: {(field.description or '').rstrip('.')}"
        for key, field in kind.model_fields.items()
    )
    return f"| `{kind.key}` | {what} | {keys or 'none'} | {kind.proof} |\n"


if __name__ == "__main__":
    sys.stdout.write(table())
