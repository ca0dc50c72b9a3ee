"""YAML text becomes nodes that know where they stood.

libyaml reads the text, six times as fast as Python does; what a plain word means is YAML 1.2's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

#: Levels of nesting. libyaml takes the square of the time for deeper ones.
DEEPEST = 40
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_RESOLVER: Any = YAML(typ="safe", pure=True).resolver
#: By what libyaml says: what an author can do.
_MENDS = {
    "unknown escape character": "use single quotes, in which backslashes stand for themselves",
    "did not find expected key": "is this line indented as its neighbours are, and every quote "
    "before it closed?",
    "expected '-' indicator": "is this line indented as the list above it, or a `- ` missing?",
    "did not find expected ','": "is a comma missing, or a bracket not closed before here?",
    "mapping values are not allowed": "is this line indented too far? A text that has `: ` in it "
    "is quoted",
}


@dataclass(frozen=True)
class SourceMark:
    """A place in a file; line and column count from 0."""

    name: str
    index: int
    line: int
    column: int


class NotYamlError(Exception):
    """A text is no YAML; says why, and at which line and column from 0."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line, self.column = line, column


def compose(text: str, file: str) -> Node | None:
    """Read the one document of a text; None if there is none.

    Raises:
        NotYamlError: It is no YAML, is nested too deeply, or has more than one document.

    """
    try:
        return _Composer(text, file).document()
    except yaml.reader.ReaderError as error:
        # libyaml counts bytes.
        before = text.encode()[: error.position].decode(errors="ignore")
        line, column = before.count("\n"), len(before) - before.rfind("\n") - 1
        raise NotYamlError(str(error.reason), line, column) from error
    except yaml.MarkedYAMLError as error:
        raise _explained(error, text) from error
    except (ValueError, UnicodeError, yaml.YAMLError) as error:
        raise NotYamlError(str(error), 0, 0) from error


def resolve(text: str) -> str:
    """Find the tag that YAML 1.2 gives a plain word."""
    return str(_RESOLVER.resolve(ScalarNode, text, (True, False)))


def _explained(error: yaml.MarkedYAMLError, text: str) -> NotYamlError:
    mark = error.problem_mark or error.context_mark
    said = " ".join(str(part) for part in (error.context, error.problem) if part)
    if "quoted scalar" in said and "end of stream" in said and error.context_mark:
        # Where the text ends says nothing of where a quote is missing.
        mark, said = error.context_mark, "the quote that opens here is never closed"
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = text.split("\n")
    before = lines[line] if line < len(lines) else ""
    if "\t" in before[: len(before) - len(before.lstrip())]:
        return NotYamlError(f"{said}; indent with spaces, YAML has no tabs", line, column)
    advice = next((mend for part, mend in _MENDS.items() if part in said), "")
    return NotYamlError(f"{said}; {advice}" if advice else said, line, column)


class _Composer:
    def __init__(self, text: str, file: str) -> None:
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=_LOADER))
        self._file = file
        self._anchors: dict[str, Node] = {}

    def document(self) -> Node | None:
        next(self._events)  # the stream's start
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        root = self._node(next(self._events), 0)
        next(self._events)  # the document's end
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise _wrong(after, "expected a single document")
        return root

    def _node(self, event: Any, depth: int) -> Node:
        if depth > DEEPEST:
            raise _wrong(event, f"nested deeper than {DEEPEST} levels")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise _wrong(event, f"found undefined alias {event.anchor}")
            return self._anchors[event.anchor]
        start, end = self._mark(event.start_mark), self._mark(event.end_mark)
        if isinstance(event, yaml.ScalarEvent):
            node: Node = ScalarNode(_scalar_tag(event), event.value, start, end)
            self._name(event, node)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = SequenceNode(_tag(event, "seq"), [], start, end)
            self._name(event, node)
            node.value.extend(self._items(depth))
        else:
            node = MappingNode(_tag(event, "map"), [], start, end)
            self._name(event, node)
            items = self._items(depth)
            node.value.extend(zip(items, items, strict=True))
        return node

    def _items(self, depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self._events), yaml.CollectionEndEvent):
            yield self._node(event, depth + 1)

    def _name(self, event: Any, node: Node) -> None:
        if event.anchor is not None:
            self._anchors[event.anchor] = node

    def _mark(self, mark: Any) -> SourceMark:
        return SourceMark(self._file, mark.index, mark.line, mark.column)


def _wrong(event: Any, message: str) -> NotYamlError:
    return NotYamlError(message, event.start_mark.line, event.start_mark.column)


def _tag(event: Any, kind: str) -> str:
    return f"{_TAG}{kind}" if event.tag in {None, "!"} else str(event.tag)


def _scalar_tag(event: Any) -> str:
    if event.tag is None and event.implicit[0]:
        return resolve(event.value)
    return _tag(event, "str")
