"""The documents of a task file, as SkyPilot reads them (YAML 1.1), and where everything stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from metta_sandbox.errors import InputError, Problem

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
        InputError: It is no YAML, or gives a key twice.

    """
    loader = _LOADER(text)
    documents = []
    try:
        while loader.check_node():
            root = loader.get_node()
            problems = [
                Problem(path, key.start_mark.line + 1, key.start_mark.column + 1, message)
                for key, message in _doubled(root)
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


def _doubled(node: Any) -> Iterator[tuple[Any, str]]:
    """Find keys that a mapping has twice, which YAML forbids and PyYAML lets pass."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _doubled(item)
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                yield key, f"{name} is given twice"
            if name != "<<":
                seen.add(name)
            yield from _doubled(value)
