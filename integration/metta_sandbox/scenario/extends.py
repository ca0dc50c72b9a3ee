"""``extends: other.yaml``: a file that says only what is different about another."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from metta_sandbox.errors import InputError, Problem
from metta_sandbox.scenario.files import read_text
from metta_sandbox.scenario.keys import holds_keys
from metta_sandbox.scenario.nodes import (
    Entry,
    bare,
    entry,
    is_null,
    leaves,
    overrides_as_mapping,
    scalar,
    with_entries,
    without,
)
from metta_sandbox.scenario.search import LATEST, LEAF
from metta_sandbox.scenario.tree import Place, UnreadableError, place_of, read
from metta_sandbox.scenario.untrusted import Untrusted

#: Files in a row, each of which extends the next.
MOST_FILES = 8
OVERRIDES = ("workload", "trainer", "overrides")
PARAMETERS = ("sweep", "parameters")
RESUME = ("sweep", "resume")
#: Paths, which are from the folder of the file that names them.
_PATHS = (
    ("workload", "folder"),
    ("workload", "requirements"),
    ("workload", "build"),
    ("workload", "build", "context"),
    ("workload", "mounts", "*", "source"),
)
#: What a file does not get from the one it extends: its name has to be its own.
_OWN = ("extends", "name")


@dataclass(frozen=True)
class Lineage:
    """A file and those it extends, as one.

    Args:
        root: What they say together.
        parts: What each of them says, the file itself first.
        faults: What is wrong with how they are joined, or with a file that is extended.
        whole: Whether all of them could be read.

    """

    root: MappingNode
    parts: tuple[MappingNode, ...]
    faults: tuple[Problem, ...]
    whole: bool = True


def inherit(root: MappingNode, path: Path, untrusted: Untrusted | None = None) -> Lineage:
    """Join a file with those it extends, whose paths are relative to the file that names them.

    Mappings are merged, lists and all else replace; ``null`` takes away what was said before. What
    a stranger may not name is not read.
    """
    parts, faults, trail = [root], [], [path]
    complete = True
    while found := entry(parts[-1], "extends"):
        try:
            base, wrong = _read_base(found[1], trail, untrusted)
        except UnreadableError as error:
            faults.append(error.problem)
            complete = False
            break
        parts.append(base)
        faults.extend(wrong)
    whole = without(parts[-1], "extends")
    for part in reversed(parts[:-1]):
        whole = _merge(without(whole, *_OWN), without(part, "extends"), ())
    return Lineage(whole, tuple(parts), tuple(faults), complete)


def _read_base(
    named: Node, trail: list[Path], untrusted: Untrusted | None
) -> tuple[MappingNode, tuple[Problem, ...]]:
    if not isinstance(named.value, str) or not named.value or is_null(named):
        raise _fault(named, "expected the path of a scenario file")
    path = trail[-1].parent / named.value
    if any(_same(path, before) for before in trail):
        chain = " -> ".join(file.name for file in [*trail, path])
        raise _fault(named, f"a file can't extend itself: {chain}")
    if len(trail) == MOST_FILES:
        raise _fault(named, f"more than {MOST_FILES} files, each of which extends the next")
    if untrusted and not untrusted.admits(path):
        raise _fault(named, untrusted.outside(named.value))
    if holds_keys(path):
        raise _fault(named, f"{path} may hold keys, and is no scenario to extend")
    trail.append(path)
    try:
        document = read(read_text(path), str(path))
    except InputError as error:
        if error.problems:
            raise UnreadableError(error.problems[0]) from error
        raise _fault(named, error.message) from error
    if not isinstance(document.root, MappingNode):
        fault = Place(1, 1, str(path)).problem("expected a mapping, as in `name: basic`")
        raise UnreadableError(fault)
    return _with_paths_from(document.root, path.parent, trail[0].parent), document.faults


def _with_paths_from(root: MappingNode, base: Path, own: Path) -> MappingNode:
    """Write the paths of a file, which are from its own folder, as from another's."""

    def rebased(node: Node) -> Node:
        if not isinstance(node, ScalarNode) or is_null(node) or not node.value:
            return node
        if str(node.value).startswith("~"):
            return node
        return scalar(os.path.relpath(base / str(node.value), own), node)

    for path in _PATHS:
        root = _changed(root, path, rebased)
    if (found := _at(root, RESUME)) and found.value != LATEST:
        root = _changed(root, RESUME, rebased)
    return root


def _at(node: Node | None, path: tuple[str, ...]) -> Node | None:
    for key in path:
        found = entry(node, key)
        node = found[1] if found else None
    return node


def _changed(
    root: MappingNode, path: tuple[str, ...], change: Callable[[Node], Node]
) -> MappingNode:
    """Change the scalar at a path, if there is one; ``*`` goes over the items of a list."""
    head, rest = path[0], path[1:]
    entries = []
    for key, value in root.value:
        new = value
        if key.value == head:
            if not rest:
                new = change(value)
            elif isinstance(value, MappingNode):
                new = _changed(value, rest, change)
            elif rest[0] == "*" and isinstance(value, SequenceNode):
                items = [
                    _changed(item, rest[1:], change) if isinstance(item, MappingNode) else item
                    for item in value.value
                ]
                new = SequenceNode(value.tag, items, value.start_mark, value.end_mark)
        entries.append((key, new))
    return with_entries(root, entries)


def _same(path: Path, other: Path) -> bool:
    try:
        return path.resolve() == other.resolve()
    except (OSError, RuntimeError, ValueError):
        return False


def _fault(node: Node, message: str) -> UnreadableError:
    return UnreadableError(place_of(node).problem(f"extends: {message}"))


def _merge(base: MappingNode, own: MappingNode, path: tuple[str, ...]) -> MappingNode:
    if path == OVERRIDES:
        return _join(
            _flat(base), _flat(own), lambda *values: None if is_null(values[-1]) else values[-1]
        )
    if path == PARAMETERS:
        flat = (_flat(base, is_parameter), _flat(own, is_parameter))
        return _join(*flat, lambda _, old, new: _merge_parameter(old, new))
    return _join(base, own, lambda key, old, new: _merge_values(old, new, (*path, key)))


def _merge_values(old: Node, new: Node, path: tuple[str, ...]) -> Node | None:
    if is_null(new):
        return None
    if path == OVERRIDES:
        old, new = overrides_as_mapping(old), overrides_as_mapping(new)
    if isinstance(old, MappingNode) and isinstance(new, MappingNode):
        return _merge(old, new, path)
    return new


def _merge_parameter(old: Node, new: Node) -> Node | None:
    """Join a parameter's old and new bounds; one that says what kind it is replaces the other."""
    if is_null(new):
        return None
    says_its_kind = entry(new, "values") or entry(new, "distribution")
    if says_its_kind or not (isinstance(old, MappingNode) and isinstance(new, MappingNode)):
        return new
    return _merge(old, new, ())


def _flat(node: MappingNode, is_leaf: Callable[[Node], bool] = lambda _: False) -> MappingNode:
    return with_entries(node, leaves(node, is_leaf))


def is_parameter(node: Node) -> bool:
    """Tell whether a mapping is a searched parameter, and not a step on the way to one."""
    return isinstance(node, MappingNode) and any(
        key.value in LEAF and not isinstance(value, MappingNode) for key, value in node.value
    )


def _join(
    base: MappingNode, own: MappingNode, merge: Callable[[str, Node, Node], Node | None]
) -> MappingNode:
    """Put one mapping's entries over another's, which keep their order."""
    news: dict[str, Entry] = {bare(str(key.value)): (key, value) for key, value in own.value}
    joined: list[Entry] = []
    for key, old in base.value:
        name = bare(str(key.value))
        if name not in news:
            joined.append((key, old))
            continue
        new_key, new = news.pop(name)
        merged = merge(name, old, new)
        if merged is not None:
            joined.append((new_key, merged))
    return with_entries(own, [*joined, *news.values()])
