"""What is made from the kinds of faults and checks: ``python -m metta_sandbox.scenario.generated``.

It writes anew the schema that is shipped, and the tables between marks in the documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from metta_sandbox.scenario.expect import table as checks
from metta_sandbox.scenario.faults import table as faults
from metta_sandbox.scenario.schema import schema_text
from metta_sandbox.skypilot import fields
from metta_sandbox.skypilot.variables import additions_table

_SCHEMA = Path(__file__).with_name("schema.json")
_DOCS = Path(__file__).parents[3] / "docs"
#: The tables of each document, by what it calls them.
_TABLES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "faults.md": {"catalogue": faults.catalogue},
    "scenarios.md": {"checks": checks.kinds, "keys of checks": checks.keys},
    "skypilot.md": {"fields": fields.table, "additions": additions_table},
}


def generated() -> dict[Path, str]:
    """Give the files that are made, or hold what is, each with what must stand in it."""
    return {_SCHEMA: schema_text(), **{_DOCS / name: _document(name) for name in _TABLES}}


def _document(name: str) -> str:
    text = (_DOCS / name).read_text()
    for title, table in _TABLES[name].items():
        begin, end = f"<!-- the {title}, generated -->\n", f"<!-- the end of the {title} -->\n"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{table()}\n{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    for file, content in generated().items():
        file.write_text(content)
