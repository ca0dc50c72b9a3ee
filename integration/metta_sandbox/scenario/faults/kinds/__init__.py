"""One file for each kind of fault: what a scenario says, what is done, and what proves it.

A file is registered by lying here: its ``FAULT`` pairs the model with what carries it out.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import get_args

from metta_sandbox.scenario.faults.base import Family
from metta_sandbox.scenario.faults.executor import FaultPair

_FAMILIES = get_args(Family)

#: All of them, by where they strike and then by the key that names them.
FAULTS: tuple[FaultPair, ...] = tuple(
    sorted(
        (import_module(f"{__name__}.{each.name}").FAULT for each in iter_modules(__path__)),
        key=lambda one: (_FAMILIES.index(one.kind.family), one.kind.key),
    )
)
