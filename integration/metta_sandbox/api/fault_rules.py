"""Faults of the control plane as the harness writes them: what is done with calls, and when.

The harness writes ``faults.json`` into the data folder, whole, each time one begins or ends. The
host, too, reads this module, so it needs nothing of what only the control plane has.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

#: The file of a control plane's data folder that says which faults there are at this moment.
FAULTS = "faults.json"


class ApiFaultRule(BaseModel):
    """What is done with the calls of a route while a fault lasts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fault: str
    #: Method and template; None for every route but the check of health.
    route: str | None = None
    #: The first and the last call of the route that are struck, from 1.
    first: int = 1
    last: int | None = None
    status: int | None = None
    detail: str = "injected by a fault"
    delay: float | None = None
    drop: bool = False
    broken_json: bool = False
    run_name: str | None = None


#: Reads and writes what the file holds.
RULES = TypeAdapter(tuple[ApiFaultRule, ...])


def write_rules(folder: Path, rules: tuple[ApiFaultRule, ...]) -> None:
    """Say which faults there are from now on."""
    draft = folder / f".{FAULTS}"
    draft.write_bytes(RULES.dump_json(rules, indent=2) + b"\n")
    draft.chmod(0o644)
    draft.replace(folder / FAULTS)
