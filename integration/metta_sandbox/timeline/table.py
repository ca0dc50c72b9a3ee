"""The catalogue of events as a table: ``python -m metta_sandbox.timeline.table``."""

from __future__ import annotations

import sys

from metta_sandbox.node.agent.events import CATALOGUE, KnownEvent
from metta_sandbox.timeline.schema import is_required

#: Around the table in docs/artifacts.md.
BEGIN = "<!-- the events, generated -->\n"
END = "<!-- the end of the events -->\n"


def table() -> str:
    """Write a row for each event."""
    rows = [_row(known) for known in CATALOGUE.values()]
    head = "| event | who tells it | what it means | fields |\n| --- | --- | --- | --- |\n"
    return "".join([BEGIN, head, *rows, END])


def _row(known: type[KnownEvent]) -> str:
    always = [f"`{field}`" for field in known.fields if is_required(known, field)]
    maybe = [f"`{field}`" for field in known.fields if not is_required(known, field)]
    told = "; maybe ".join(", ".join(each) for each in (always, maybe) if each) or "none"
    if not always and maybe:
        told = f"maybe {told}"
    meaning = str(known.__doc__).replace("``", "`")
    return f"| `{known.name}` | {known.teller} | {meaning} | {told} |\n"


if __name__ == "__main__":
    sys.stdout.write(table())
