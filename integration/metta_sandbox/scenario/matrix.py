"""``matrix: {nodes: [1, 2], trainer.batch_size: [256, 512]}``: one file, many scenarios."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from metta_sandbox.errors import Problem
from metta_sandbox.scenario.extends import OVERRIDES, PARAMETERS
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.names import suggest_key
from metta_sandbox.scenario.nodes import is_null, moved, plant
from metta_sandbox.scenario.overrides import did_you_mean, is_key, nearest
from metta_sandbox.scenario.problems import keys_at, one_of
from metta_sandbox.scenario.tree import document_of, place_of
from metta_sandbox.scenario.variables import NAME

#: Scenarios one file may become, before any are excluded.
MOST_CELLS = 256
EXCLUDE = "exclude"
#: What is one for all cells, or makes them.
FIXED = ("version", "name", "cell", "matrix", "extends", "variables")


@dataclass(frozen=True)
class Axis:
    """One thing that differs from cell to cell.

    Args:
        key: What the file calls it.
        path: The keys that lead to it in a scenario; the last may have dots. ``("variables", …)``
            leads to a variable.
        named: Where the file names it.
        nodes: Its values, and where they stand.
        values: The same as plain data.

    """

    key: str
    path: tuple[str, ...]
    named: Node
    nodes: tuple[Node, ...]
    values: tuple[Any, ...]

    @property
    def variable(self) -> str | None:
        """The variable it sets, if it sets one."""
        return self.path[1] if self.path[0] == "variables" else None

    def set(self, root: Node, index: int) -> Node | Problem:
        """Put one of its values where it belongs in a scenario."""
        value = self.nodes[index]
        # A wrong value is told where the value stands, a key that isn't there where the key does.
        place = self.named if self.path[:3] == OVERRIDES and suggest_key(self.path[-1]) else value
        new = plant(root, self.path, moved(self.named, place), value)
        if new is None:
            message = f"matrix.{self.key}: leads into what is no mapping"
            return place_of(self.named).problem(message)
        return new


@dataclass(frozen=True)
class Matrix:
    """What differs from cell to cell.

    Args:
        axes: Each thing that does.
        combinations: The cells: which of its values each axis has.
        faults: What is wrong with them.

    """

    axes: tuple[Axis, ...] = ()
    combinations: tuple[tuple[int, ...], ...] = ((),)
    faults: tuple[Problem, ...] = ()


def read_matrix(
    node: Node | None, variables: tuple[str, ...], substitute: Callable[[Node], Node]
) -> Matrix:
    """Read a file's ``matrix``.

    Args:
        node: Its mapping, or None.
        variables: The names of the file's variables.
        substitute: Puts values in place of references.

    """
    if node is None or is_null(node):
        return Matrix()
    if not isinstance(node, MappingNode):
        return Matrix(faults=(_fault(node, "", "expected a mapping of keys to lists of values"),))
    axes: list[Axis] = []
    faults: list[Problem] = []
    excluded: Node | None = None
    for key, listed in node.value:
        if key.value == EXCLUDE:
            excluded = listed
            continue
        found = _axis(key, substitute(listed), variables)
        if isinstance(found, Axis):
            axes.append(found)
        else:
            faults.extend(found)
    if not axes and not faults:
        faults.append(_fault(node, "", "expected a key and its values, as in nodes: [1, 2]"))
    count = math.prod(len(axis.values) for axis in axes)
    if count > MOST_CELLS:
        faults.append(_fault(node, "", f"{count} scenarios, expected at most {MOST_CELLS}"))
        return Matrix(faults=tuple(faults))
    cells = list(itertools.product(*(range(len(axis.values)) for axis in axes)))
    if excluded is not None and not faults:
        cells, wrong = _without(cells, axes, substitute(excluded))
        faults.extend(wrong)
    return Matrix(tuple(axes), tuple(cells), tuple(faults))


def _axis(key: Node, listed: Node, variables: tuple[str, ...]) -> Axis | list[Problem]:
    name = str(key.value)
    path = _path(name, variables)
    if isinstance(path, str):
        return [_fault(key, name, path)]
    if not isinstance(listed, SequenceNode) or not listed.value:
        return [_fault(listed, name, "expected a list of values")]
    values = [document_of(item).data for item in listed.value]
    twice = [
        _fault(item, name, "this value is given twice")
        for index, item in enumerate(listed.value)
        if any(_same(values[index], before) for before in values[:index])
    ]
    return twice or Axis(name, path, key, tuple(listed.value), tuple(values))


def _path(name: str, variables: tuple[str, ...]) -> tuple[str, ...] | str:
    """Find the keys that a matrix's key leads through, or say what is wrong with it."""
    parts = tuple(name.split("."))
    if parts[0] == "variables" and len(parts) > 1:
        return _variable(name.partition(".")[2], variables)
    if parts[0] in FIXED:
        return "can't differ from cell to cell"
    for dotted in (OVERRIDES, PARAMETERS):
        if parts[: len(dotted)] == dotted and len(parts) > len(dotted):
            return (*dotted, ".".join(parts[len(dotted) :]))
    if parts[0] in Scenario.model_fields:
        return _misfit_below(parts) or parts
    near = nearest(parts[0], [key for key in Scenario.model_fields if key not in FIXED])
    if len(parts) > 1 and is_key(name) and not (near and suggest_key(name)):
        return (*OVERRIDES, name)
    meant = ".".join([near, *parts[1:]]) if near else None
    if meant:
        mend = f"did you mean {meant}?"
    elif is_key(name):
        setting, parameter = ".".join((*OVERRIDES, name)), ".".join((*PARAMETERS, name))
        mend = f"an override is {setting}, a searched parameter {parameter}"
    else:
        mend = "expected a key of the scenario, or a dotted one"
    return f"unknown key; {mend}"


def _misfit_below(parts: tuple[str, ...]) -> str | None:
    """Say what is wrong with a path into the model, or None if nothing is."""
    for depth in range(1, len(parts)):
        known = keys_at(Scenario, parts[:depth])
        if known and parts[depth] not in known:
            return f"unknown key {parts[depth]}{did_you_mean(parts[depth], known, one_of(known))}"
    return None


def _variable(name: str, variables: tuple[str, ...]) -> tuple[str, ...] | str:
    if name in variables and NAME.fullmatch(name):
        return ("variables", name)
    return f"unknown variable{did_you_mean(name, variables, 'name it under variables')}"


_Cells = list[tuple[int, ...]]


def _without(cells: _Cells, axes: list[Axis], excluded: Node) -> tuple[_Cells, list[Problem]]:
    if not isinstance(excluded, SequenceNode):
        return cells, [_fault(excluded, EXCLUDE, "expected a list of cells, each some of the keys")]
    faults: list[Problem] = []
    gone: set[tuple[int, ...]] = set()
    for item in excluded.value:
        wrong = list(_faults_of_exclusion(item, axes))
        faults.extend(wrong)
        if wrong:
            continue
        said = {str(key.value): document_of(value).data for key, value in item.value}
        out = [cell for cell in cells if _is_in(cell, axes, said)]
        gone.update(out)
        if not out:
            faults.append(_fault(item, EXCLUDE, _unheard_of(axes, said)))
    left = [cell for cell in cells if cell not in gone]
    if not left:
        faults.append(_fault(excluded, EXCLUDE, "no cell is left"))
    return left, faults


def _unheard_of(axes: list[Axis], said: dict[str, Any]) -> str:
    """Say which values of an exclusion no cell has."""
    none = [
        f"{axis.key}: {json.dumps(said[axis.key], ensure_ascii=False)}"
        for axis in axes
        if axis.key in said and not any(_same(value, said[axis.key]) for value in axis.values)
    ]
    return f"no cell has {' or '.join(none)}"


def _faults_of_exclusion(item: Node, axes: list[Axis]) -> Iterator[Problem]:
    if not isinstance(item, MappingNode) or not item.value:
        yield _fault(item, EXCLUDE, "expected some of the matrix's keys, each with a value")
        return
    keys = [axis.key for axis in axes]
    for key, _ in item.value:
        if not isinstance(key, ScalarNode) or key.value not in keys:
            mend = did_you_mean(str(key.value), keys, one_of(keys))
            yield _fault(key, EXCLUDE, f"the matrix has no such key{mend}")


def _is_in(cell: tuple[int, ...], axes: list[Axis], said: dict[str, Any]) -> bool:
    return all(
        axis.key not in said or _same(axis.values[index], said[axis.key])
        for axis, index in zip(axes, cell, strict=True)
    )


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _fault(node: Node, key: str, message: str) -> Problem:
    return place_of(node).problem(f"matrix{f'.{key}' if key else ''}: {message}")
