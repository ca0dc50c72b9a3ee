"""``variables: …`` and ``${name}``: values a file names once, and a command line may set.

Nothing is evaluated: a reference is replaced by its value, once, and that is all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from metta_sandbox.scenario.nodes import (
    Entry,
    entry,
    is_null,
    plain,
    scalar,
    scalars,
    with_entries,
)
from metta_sandbox.scenario.overrides import nearest
from metta_sandbox.scenario.tree import Fault, UnreadableError, place_of

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
#: Keys of a variable that is more than its value.
KEYS = ("default", "env", "description")
#: Characters that references may become in a file, all together.
_LONGEST = 256 * 1024
_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}")
#: Below it stands what a shell or Hydra reads, which have references of their own.
_FOREIGN = "workload"


@dataclass(frozen=True)
class Scope:
    """A file's variables.

    Args:
        values: What each of them is.
        names: All that are declared, also those without a value.
        faults: What is wrong with them.

    """

    values: Mapping[str, Node] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()

    def having(self, name: str, value: Node) -> Scope:
        """Give one of them another value."""
        return replace(self, values={**self.values, name: value})


def declare(node: Node | None, given: Mapping[str, str], environ: Mapping[str, str]) -> Scope:
    """Read a file's ``variables``.

    Args:
        node: Their mapping, or None.
        given: What the command line sets; it goes over everything else.
        environ: The environment, which goes over defaults.

    """
    if node is None or is_null(node):
        return Scope()
    if not isinstance(node, MappingNode):
        message = "variables: expected a mapping of names to values"
        return Scope(faults=(Fault(place_of(node), message),))
    values: dict[str, Node] = {}
    faults: list[Fault] = []
    for key, said in node.value:
        name = str(key.value)
        if not NAME.fullmatch(name):
            faults.append(_fault(key, name, "expected a name of letters, digits, _ and -"))
            continue
        wrong = list(_faults_of(name, said))
        faults.extend(wrong)
        value = plain(given[name], key) if name in given else _value(said, environ)
        if value is not None:
            values[name] = value
        elif not wrong:
            mend = f"give it a default, or --set {name}=VALUE"
            faults.append(_fault(key, name, f"has no value; {mend}"))
    names = tuple(str(key.value) for key, _ in node.value)
    return Scope(values, names, tuple(faults))


def unused(node: Node | None, parts: Iterable[Node]) -> list[Fault]:
    """Name the variables that no file refers to."""
    if not isinstance(node, MappingNode):
        return []
    used = {name for part in parts for name in _references(part)}
    faults = []
    for key, _ in node.value:
        name = str(key.value)
        if name not in used:
            near = nearest(name, used - {str(other.value) for other, _ in node.value})
            mend = f"did you mean {near}, which is used?" if near else f"write ${{{name}}}"
            faults.append(_fault(key, name, f"is used nowhere; {mend}"))
    return faults


class Substitution:
    """Puts values in place of references, all of one file."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._left = _LONGEST
        self.faults: list[Fault] = []

    def replace(self, node: Node, *, foreign: bool = False, top: bool = False) -> Node:
        """Replace all references below a node.

        Args:
            node: What holds them.
            foreign: Whether what isn't declared is left to a shell or to Hydra.
            top: Whether the node is the whole file.

        Raises:
            UnreadableError: Their values are too long, all together.

        """
        if isinstance(node, ScalarNode):
            return self._scalar(node, foreign)
        if isinstance(node, SequenceNode):
            items = [self.replace(item, foreign=foreign) for item in node.value]
            return SequenceNode(node.tag, items, node.start_mark, node.end_mark)
        assert isinstance(node, MappingNode)
        entries: list[Entry] = [
            (key, self.replace(value, foreign=foreign or (top and key.value == _FOREIGN)))
            for key, value in node.value
        ]
        return with_entries(node, entries)

    def _scalar(self, node: ScalarNode, foreign: bool) -> Node:
        text = str(node.value)
        if "${" not in text:
            return node
        whole = _REFERENCE.fullmatch(text)
        if whole and whole[1] is not None:
            value = self._look_up(whole[1], node, foreign)
            return node if value is None else self._spend(value)
        return self._spend(
            scalar(_REFERENCE.sub(lambda found: self._text(found, node, foreign), text), node)
        )

    def _text(self, found: re.Match[str], node: Node, foreign: bool) -> str:
        if found[1] is None:
            return "${"
        value = self._look_up(found[1], node, foreign)
        if value is None:
            return found[0]
        if not isinstance(value, ScalarNode):
            self.faults.append(
                Fault(place_of(node), f"{found[0]} is no text, and can't be part of one")
            )
            return found[0]
        return str(value.value)

    def _look_up(self, name: str, node: Node, foreign: bool) -> Node | None:
        if name in self._scope.values:
            return self._scope.values[name]
        if not foreign and name not in self._scope.names:
            near = nearest(name, self._scope.names)
            mend = f"did you mean ${{{near}}}?" if near else "write $${ for a plain ${"
            self.faults.append(Fault(place_of(node), f"unknown variable ${{{name[:60]}}}; {mend}"))
        return None

    def _spend(self, node: Node) -> Node:
        self._left -= sum(len(inner.value) for inner in scalars(node))
        if self._left < 0:
            message = f"references become more than {_LONGEST // 1024} KiB of text"
            raise UnreadableError(Fault(place_of(node), message))
        return node


def _value(said: Node, environ: Mapping[str, str]) -> Node | None:
    if not isinstance(said, MappingNode):
        return said
    named = entry(said, "env")
    if named and isinstance(named[1].value, str) and (text := environ.get(named[1].value)):
        return plain(text, named[1])
    found = entry(said, "default")
    return found[1] if found else None


def _faults_of(name: str, said: Node) -> Iterator[Fault]:
    for inner in scalars(said):
        if _REFERENCE.search(str(inner.value)):
            yield _fault(inner, name, "a variable can't refer to others")
    if not isinstance(said, MappingNode):
        return
    for key, value in said.value:
        if key.value not in KEYS:
            near = nearest(str(key.value), KEYS)
            mend = f"did you mean {near}?" if near else f"expected {', '.join(KEYS)}"
            yield _fault(key, f"{name}.{key.value}", f"unknown key; {mend}")
        elif key.value != "default" and (not isinstance(value, ScalarNode) or not value.value):
            yield _fault(value, f"{name}.{key.value}", "expected text")


def _references(node: Node) -> Iterator[str]:
    for inner in scalars(node):
        for found in _REFERENCE.finditer(str(inner.value)):
            if found[1] is not None:
                yield found[1]


def _fault(node: Node, name: str, message: str) -> Fault:
    return Fault(place_of(node), f"variables.{name}: {message}")
