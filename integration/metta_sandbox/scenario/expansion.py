"""A file becomes scenarios: what it extends, its matrix and its variables are worked in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from metta_sandbox.errors import Problem
from metta_sandbox.scenario.cells import slugs, titles
from metta_sandbox.scenario.extends import inherit
from metta_sandbox.scenario.matrix import Axis, Matrix, read_matrix
from metta_sandbox.scenario.nodes import entry, without
from metta_sandbox.scenario.tree import Document, document_of, place_of
from metta_sandbox.scenario.untrusted import Untrusted
from metta_sandbox.scenario.variables import Scope, Substitution, declare, sensitive, unused


@dataclass(frozen=True)
class Expansion:
    """What a file becomes.

    Args:
        cells: One document for each scenario, with nothing left to work in.
        variables: The names of the file's variables.
        faults: What is wrong with how they are made.
        whole: Whether all files that it extends could be read.
        secrets: Values of the variables that nobody may see, to which cells still refer.

    """

    cells: tuple[Document, ...]
    variables: tuple[str, ...]
    faults: tuple[Problem, ...]
    whole: bool = True
    secrets: Mapping[str, str] = field(default_factory=dict)


def expand(
    root: MappingNode,
    path: Path,
    given: Mapping[str, str],
    environ: Mapping[str, str],
    untrusted: Untrusted | None = None,
) -> Expansion:
    """Work in what a file extends, its matrix and its variables.

    Args:
        root: The file's mapping.
        path: Where it is; what it extends is looked for from there.
        given: Variables that the command line sets.
        environ: Where variables may have their values from.
        untrusted: What the files may say, if they are a stranger's.

    Raises:
        UnreadableError: It becomes too large.

    """
    lineage = inherit(root, path, untrusted)
    said = _value(lineage.root, "variables")
    variables = untrusted.environ(environ) if untrusted else environ
    scope = declare(said, given, variables, sensitive(lineage.root))
    faults = [*lineage.faults, *scope.faults, *unused(said, lineage.parts)]
    refused = [fault for part in lineage.parts if untrusted for fault in untrusted.refused(part)]
    substitution = Substitution(scope)
    matrix = read_matrix(_value(lineage.root, "matrix"), scope.names, substitution.replace)
    faults += [*substitution.faults, *matrix.faults]
    faults += [
        place_of(axis.named).problem(f"matrix.{axis.key}: --set gives {axis.variable} a value, too")
        for axis in matrix.axes
        if axis.variable in given
    ]
    body = without(lineage.root, "variables", "matrix")
    names = _names(body, matrix, scope)
    cells = []
    for combination, (shown, name) in zip(matrix.combinations, names, strict=True):
        document, wrong = _cell(body, scope, tuple(zip(matrix.axes, combination, strict=True)))
        faults += wrong
        cells.append(_named(document, shown, name, matrix, combination))
    # Without a file it extends, nobody knows what this one may refer to.
    told = (*(faults if lineage.whole else lineage.faults), *refused)
    return Expansion(tuple(cells), scope.names, told, lineage.whole, scope.secrets)


def _value(root: MappingNode, key: str) -> Node | None:
    found = entry(root, key)
    return found[1] if found else None


def _names(body: MappingNode, matrix: Matrix, scope: Scope) -> list[tuple[str, str]]:
    """Name the cells: for people, and for folders."""
    found = _value(body, "name")
    name = None if found is None else Substitution(scope).replace(found)
    text = str(name.value) if isinstance(name, ScalarNode) else ""
    shown = titles(text, matrix)
    return list(zip(shown, slugs(shown), strict=True))


def _cell(
    body: MappingNode, scope: Scope, chosen: tuple[tuple[Axis, int], ...]
) -> tuple[Document, list[Problem]]:
    root: Node = body
    faults: list[Problem] = []
    for axis, index in chosen:
        if axis.variable:
            scope = scope.having(axis.variable, axis.nodes[index])
            continue
        new = axis.set(root, index)
        if isinstance(new, Problem):
            faults.append(new)
        else:
            root = new
    substitution = Substitution(scope)
    document = document_of(substitution.replace(root, ()))
    return document, [*faults, *substitution.faults, *document.faults]


def _named(
    document: Document, shown: str, name: str, matrix: Matrix, combination: tuple[int, ...]
) -> Document:
    """Give a cell its own name, if the file's is one."""
    own = document.data.get("name")
    if not matrix.axes or not isinstance(own, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]*", own):
        return document
    values = {
        axis.key: axis.values[index] for axis, index in zip(matrix.axes, combination, strict=True)
    }
    data = {**document.data, "name": name, "cell": {"id": shown, "values": values}}
    return Document(data, document.root, document.faults)
