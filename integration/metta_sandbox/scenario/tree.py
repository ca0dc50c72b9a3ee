"""YAML with its places: text becomes plain data, and every value knows where it stood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from metta_sandbox.errors import Problem
from metta_sandbox.scenario.compose import DEEPEST, NotYamlError, compose

#: More values than this, each use of an alias counted, or deeper ones, are refused.
MOST_VALUES = 3_000
_YAML = "tag:yaml.org,2002:"
_LONGEST_NUMBER = 300


@dataclass(frozen=True)
class Place:
    """A line and a column, both from 1, and the file if it is known."""

    line: int
    column: int
    file: str = ""

    def problem(self, message: str) -> Problem:
        """Say what is wrong here."""
        return Problem(Path(self.file), self.line, self.column, message)


class UnreadableError(Exception):
    """The text is not YAML that can be read; carries the one problem that ends the reading."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(frozen=True)
class Document:
    """A file's data, its places, and what was wrong on the way."""

    data: Any
    root: Node | None
    faults: tuple[Problem, ...]

    def has(self, path: Sequence[str | int]) -> bool:
        """Tell whether the document has a value at a path."""
        return len(self._walk(path)) == len(path)

    def locate(self, path: Sequence[str | int], *, key: bool = False) -> Place:
        """Find the place of a value, or of its key; of what holds it, if it isn't there.

        A part of the path with dots also finds its way through nested mappings.
        """
        if self.root is None:
            return Place(1, 1)
        steps = self._walk(path)
        if not steps:
            return place_of(self.root)
        key_node, node = steps[-1]
        if key_node is None:
            return place_of(node)
        # A value that isn't there (`sweep:`) stands wherever the next thing does.
        empty = isinstance(node, ScalarNode) and node.start_mark.index == node.end_mark.index
        at_key = empty or (key and len(steps) == len(path))
        return place_of(key_node if at_key else node)

    def _walk(self, path: Sequence[str | int]) -> list[tuple[Node | None, Node]]:
        steps: list[tuple[Node | None, Node]] = []
        for part in path:
            found = _descend(steps[-1][1] if steps else self.root, part)
            if found is None:
                break
            steps.append(found)
        return steps


def read(text: str, file: str = "") -> Document:
    """Read one YAML 1.2 document.

    Args:
        text: Its content.
        file: Where it came from, which its places then say.

    Raises:
        UnreadableError: It can't be read at all.

    """
    for number, line in enumerate(text.splitlines()):
        if line.startswith("%YAML") and line.split()[:2] != ["%YAML", "1.2"]:
            raise UnreadableError(
                Place(number + 1, 1, file).problem("expected %YAML 1.2, or no such line")
            )
    node = _compose(text, file)
    return Document(None, None, ()) if node is None else document_of(node)


def document_of(root: Node) -> Document:
    """Build the data of a tree of nodes.

    Raises:
        UnreadableError: It has too many values or too many levels.

    """
    builder = _Builder()
    data = builder.build(root, 0)
    return Document(data, root, tuple(builder.faults))


def _compose(text: str, file: str) -> Node | None:
    try:
        return compose(text, file)
    except NotYamlError as error:
        place = Place(error.line + 1, error.column + 1, file)
        raise UnreadableError(place.problem(f"not YAML: {error}")) from error


def place_of(node: Node) -> Place:
    """Say where a node starts."""
    mark = node.start_mark
    return Place(mark.line + 1, mark.column + 1, str(mark.name))


def _descend(node: Node | None, part: str | int) -> tuple[Node | None, Node] | None:
    if isinstance(node, SequenceNode) and isinstance(part, int):
        return (None, node.value[part]) if part < len(node.value) else None
    if not isinstance(node, MappingNode) or not isinstance(part, str):
        return None
    for key, value in node.value:
        if key.value == part:
            return key, value
    for key, value in node.value:
        if isinstance(key.value, str) and part.startswith(f"{key.value}."):
            found = _descend(value, part[len(key.value) + 1 :])
            if found is not None:
                return found
    return None


class _Builder:
    def __init__(self) -> None:
        self.faults: list[Problem] = []
        self._left = MOST_VALUES

    def build(self, node: Node, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise UnreadableError(
                place_of(node).problem(f"more than {MOST_VALUES} values, each alias counted")
            )
        if depth > DEEPEST:
            raise UnreadableError(place_of(node).problem(f"nested deeper than {DEEPEST} levels"))
        if isinstance(node, MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, SequenceNode):
            return [self.build(item, depth + 1) for item in node.value]
        assert isinstance(node, ScalarNode)
        return self._scalar(node)

    def _mapping(self, node: MappingNode, depth: int) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._refuse(key_node, "expected a plain word as a key")
                continue
            key = self._text(key_node)
            if key in data:
                self._refuse(key_node, f"{key} is given twice")
            data[key] = self.build(value_node, depth + 1)
        return data

    def _scalar(self, node: ScalarNode) -> Any:
        text, kind = str(node.value), str(node.tag).removeprefix(_YAML)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind in {"int", "float"}:
            return self._number(node, text, kind)
        if kind not in {"str", "timestamp", "merge", "value"}:
            self._refuse(node, f"expected no tag, not {str(node.tag).replace(_YAML, '!!')}")
        return self._text(node)

    def _text(self, node: ScalarNode) -> str:
        """Take a text, unless it could be no path, no variable and no word of a command."""
        text = str(node.value)
        if "\0" in text:
            self._refuse(node, "expected text without a zero byte (\\0)")
        return text.replace("\0", "")

    def _number(self, node: ScalarNode, text: str, kind: str) -> int | float:
        try:
            number = _to_number(text, kind) if len(text) <= _LONGEST_NUMBER else math.inf
            float(number)
        except OverflowError:  # a whole one of which nobody could make anything else
            number = math.inf
        except ValueError:  # an explicit tag on a word: `!!int two`
            number = math.nan
        if isinstance(number, float) and not math.isfinite(number):
            self._refuse(node, f"expected a finite number, got {text[:40]}")
            return 0
        return number

    def _refuse(self, node: Node, message: str) -> None:
        self.faults.append(place_of(node).problem(message))


def _to_number(text: str, kind: str) -> int | float:
    digits = text.replace("_", "").lower()
    if kind == "float":
        return float(digits.replace(".inf", "inf").replace(".nan", "nan"))
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    base = {"0x": 16, "0o": 8, "0b": 2}.get(digits[:2])
    return sign * (int(digits[2:], base) if base else int(digits, 10))
