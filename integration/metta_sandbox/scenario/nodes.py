"""YAML nodes, which know where they stood: finding, replacing and making them.

Nothing here changes a node in place, because an alias may have put it in two places of a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from metta_sandbox.scenario.compose import resolve
from metta_sandbox.scenario.overrides import parse
from metta_sandbox.scenario.values import Value

TAG = "tag:yaml.org,2002:"
#: A mapping's entry: the key's node and the value's.
Entry = tuple[Node, Node]


def entry(node: Node | None, key: str) -> Entry | None:
    """Find a mapping's entry, the last one if the key is given twice."""
    if not isinstance(node, MappingNode):
        return None
    found = [pair for pair in node.value if pair[0].value == key]
    return found[-1] if found else None


def without(node: MappingNode, *keys: str) -> MappingNode:
    """Leave out some of a mapping's entries."""
    return with_entries(node, [pair for pair in node.value if pair[0].value not in keys])


def with_entries(node: MappingNode, entries: list[Entry]) -> MappingNode:
    """Make a mapping of other entries in the same place."""
    return MappingNode(node.tag, entries, node.start_mark, node.end_mark)


def is_null(node: Node) -> bool:
    """Tell whether a value is nothing (``null``, ``~`` or no text at all)."""
    return isinstance(node, ScalarNode) and str(node.tag) == f"{TAG}null"


def scalar(text: str, like: Node, kind: str = "str") -> ScalarNode:
    """Make a scalar that stands where another node stands."""
    return ScalarNode(f"{TAG}{kind}", text, like.start_mark, like.end_mark)


def plain(text: str, like: Node) -> ScalarNode:
    """Make the scalar that a file means when it says this text without quotes (YAML 1.2)."""
    return scalar(text, like, resolve(text).removeprefix(TAG))


def moved(node: Node, like: Node) -> Node:
    """Make the same value stand where another node stands."""
    if isinstance(node, ScalarNode):
        return ScalarNode(node.tag, node.value, like.start_mark, like.end_mark)
    if isinstance(node, SequenceNode):
        items = [moved(item, like) for item in node.value]
        return SequenceNode(node.tag, items, like.start_mark, like.end_mark)
    entries = [(moved(key, like), moved(value, like)) for key, value in node.value]
    return MappingNode(node.tag, entries, like.start_mark, like.end_mark)


def node_of(value: Value, like: Node) -> Node:
    """Make the node of plain data that stands where another node stands."""
    if isinstance(value, dict):
        entries = [(scalar(key, like), node_of(item, like)) for key, item in value.items()]
        return MappingNode(f"{TAG}map", entries, like.start_mark, like.end_mark)
    if isinstance(value, list):
        items = [node_of(item, like) for item in value]
        return SequenceNode(f"{TAG}seq", items, like.start_mark, like.end_mark)
    if isinstance(value, bool):
        return scalar("true" if value else "false", like, "bool")
    if value is None:
        return scalar("null", like, "null")
    kind = {int: "int", float: "float"}.get(type(value), "str")
    return scalar(str(value), like, kind)


def scalars(node: Node) -> Iterator[ScalarNode]:
    """Go through all text below a node, values and not keys."""
    if isinstance(node, ScalarNode):
        yield node
    elif isinstance(node, SequenceNode):
        for item in node.value:
            yield from scalars(item)
    elif isinstance(node, MappingNode):
        for _, value in node.value:
            yield from scalars(value)


def bare(key: str) -> str:
    """Take Hydra's operator off an override key."""
    return key.lstrip("+~")


def leaves(node: MappingNode, is_leaf: Callable[[Node], bool], prefix: str = "") -> list[Entry]:
    """Write nested entries as one dotted key each; operators stay in front."""
    found: list[Entry] = []
    for key, value in node.value:
        text = str(key.value)
        mark, tail = text[: len(text) - len(bare(text))], bare(text)
        if isinstance(value, MappingNode) and value.value and not is_leaf(value):
            found.extend(leaves(value, is_leaf, f"{prefix}{text}."))
        else:
            found.append((scalar(f"{mark}{prefix}{tail}", key), value))
    return found


def overrides_as_mapping(node: Node) -> Node:
    """Write a list of ``key=value`` as a mapping; what is no such list stays as it is."""
    if not isinstance(node, SequenceNode):
        return node
    entries: list[Entry] = []
    for item in node.value:
        try:
            override = parse(str(item.value))
        except ValueError:
            return node
        key = scalar(f"{override.op}{override.key}", item)
        entries.append((key, node_of(override.value, item)))
    return MappingNode(f"{TAG}map", entries, node.start_mark, node.end_mark)


def plant(node: Node, path: tuple[str, ...], key: Node, value: Node) -> Node | None:
    """Put a value at a path, also where mappings nest what the path writes with dots.

    Args:
        node: A mapping, or nothing yet.
        path: The keys that lead to it. The last may have dots.
        key: Where keys stand that are made on the way.
        value: What is put there.

    Returns:
        The new mapping, or None if something on the way is neither a mapping nor nothing.

    """
    if is_null(node):
        node = MappingNode(f"{TAG}map", [], key.start_mark, key.end_mark)
    node = overrides_as_mapping(node)
    if not isinstance(node, MappingNode):
        return None
    head, rest = path[0], path[1:]
    index = _lead(node, head, dotted=not rest)
    if index is None:
        new = plant(scalar("", key, "null"), rest, key, value) if rest else value
        return None if new is None else with_entries(node, [*node.value, (scalar(head, key), new)])
    there, inner = node.value[index]
    name = bare(str(there.value))
    if name != head:
        rest = (head[len(name) + 1 :],)
    new = plant(inner, rest, key, value) if rest else value
    named = there if rest else scalar(str(there.value), key)
    if new is None:
        return None
    return with_entries(node, [*node.value[:index], (named, new), *node.value[index + 1 :]])


def _lead(node: MappingNode, key: str, *, dotted: bool) -> int | None:
    """Find the entry of a key, or of the most of its parts that nest further ones."""
    best, most = None, 0
    for index, (there, inner) in enumerate(node.value):
        name = bare(str(there.value)) if isinstance(there, ScalarNode) else ""
        leads = dotted and isinstance(inner, MappingNode) and key.startswith(f"{name}.")
        if name and (name == key or leads) and len(name) > most:
            best, most = index, len(name)
    return best
