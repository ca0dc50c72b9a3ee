"""One file for each kind of check: what a scenario says, and what judges whether it holds.

A file is registered by lying here: its ``CHECK`` pairs the model with the judge. Evidence is the
harness's and known by its type alone.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from metta_sandbox.scenario.expect.kind import CheckPair

#: All of them, by the key that names them.
CHECKS: tuple[CheckPair, ...] = tuple(
    sorted(
        (import_module(f"{__name__}.{each.name}").CHECK for each in iter_modules(__path__)),
        key=lambda one: one.kind.key,
    )
)
