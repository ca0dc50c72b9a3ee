"""The documents of a task file, as SkyPilot reads them (YAML 1.1), and where everything stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from metta_sandbox.errors import InputError, Problem
from metta_sandbox.scenario.compose import DEEPEST
from metta_sandbox.scenario.tree import MOST_VALUES

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Document:
    """One document of a file: its data, and the nodes that know where they stood."""

    data: Any
    root: Any

    def locate(self, path: Sequence[str | int]) -> tuple[int, int]:
        """Find line and column, from 1, of a key, or of the last thing on the way that is there."""
        node = self.root
        mark = node.start_mark
        for part in path:
            found = _descend(node, part)
            if found is None:
                break
            mark, node = found[0].start_mark, found[1]
        return mark.line + 1, mark.column + 1


def read_documents(text: str, path: Path) -> tuple[Document, ...]:
    """Read all documents of a text; empty ones are left out.

    Raises:
        InputError: It is no YAML, gives a key twice, or has too many values or levels.

    """
    loader = _LOADER(text)
    documents = []
    try:
        _require_flat(text, path)
        while loader.check_node():
            root = loader.get_node()
            problems = [
                Problem(path, key.start_mark.line + 1, key.start_mark.column + 1, message)
                for key, message in _misfits(root)
            ]
            if problems:
                raise _wrong(*problems)
            data = loader.construct_document(root)
            if data is not None:
                documents.append(Document(data, root))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        said = f"not YAML: {error.problem or error.context}"
        raise _wrong(Problem(path, line, column, said)) from None
    except (yaml.YAMLError, ValueError) as error:
        said = f"not YAML: {error}"
        raise _wrong(Problem(path, 0, 0, said)) from None
    finally:
        loader.dispose()
    return tuple(documents)


def _wrong(*problems: Problem) -> InputError:
    return InputError("the task is wrong", problems=problems)


def _descend(node: Any, part: str | int) -> tuple[Any, Any] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        return (node.value[part], node.value[part]) if part < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        pairs = (pair for pair in node.value if str(pair[0].value) == str(part))
        return next(pairs, None)
    return None


def _require_flat(text: str, path: Path) -> None:
    """Refuse what is nested too deeply, before anything that goes down into it."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            mark: Any = event.start_mark
            said = f"nested deeper than {DEEPEST} levels"
            raise _wrong(Problem(path, mark.line + 1, mark.column + 1, said))


def _misfits(root: Any) -> list[tuple[Any, str]]:
    """Find keys that a mapping has twice, which YAML forbids and PyYAML lets pass.

    Each use of an alias counts as a value, and as a level: some texts of a few lines are endless.
    """
    found: list[tuple[Any, str]] = []
    values, ahead = 0, [(root, 1)]
    while ahead:
        node, depth = ahead.pop()
        values += 1
        if depth > DEEPEST:
            return [(node, f"nested deeper than {DEEPEST} levels")]
        if values > MOST_VALUES:
            return [(node, f"more than {MOST_VALUES} values, each use of an alias counted")]
        if isinstance(node, yaml.SequenceNode):
            ahead += [(item, depth + 1) for item in node.value]
        elif isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                name = str(key.value)
                if name in seen:
                    found.append((key, f"{name} is given twice"))
                if name != "<<":
                    seen.add(name)
                ahead += [(key, depth + 1), (value, depth + 1)]
    return sorted(found, key=lambda one: one[0].start_mark.index)
