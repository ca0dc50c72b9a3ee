"""``variables: …`` and ``${name}``: values a file names once, and a command line may set.

Nothing is evaluated: a reference is replaced by its value, once, and that is all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from metta_sandbox.errors import Problem
from metta_sandbox.masking import SHORTEST
from metta_sandbox.scenario.nodes import (
    Entry,
    entry,
    is_null,
    plain,
    scalar,
    scalars,
    with_entries,
)
from metta_sandbox.scenario.overrides import did_you_mean, nearest
from metta_sandbox.scenario.secrets import looks_secret
from metta_sandbox.scenario.tree import UnreadableError, place_of

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
#: Keys of a variable that is more than its value.
KEYS = ("default", "env", "description", "secret")
#: Characters that references may become in a file, all together.
_LONGEST = 256 * 1024
_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}")
#: Below it stands what a shell or Hydra reads, which have references of their own.
_FOREIGN = "workload"
#: And in there, what may refer to secrets: variables of the environment.
_ENV = "env"
_SECRET_PLACE = 3
_MISPLACED = (
    "a secret has no place here; put it into a variable of workload.env, which setup, run and "
    "trainers read"
)


@dataclass(frozen=True)
class Scope:
    """The variables that a file declares, with their values.

    Args:
        values: What each of them is.
        names: All that are declared, also those without a value.
        faults: What is wrong with them.
        secrets: The texts of those whose values nobody may see.

    """

    values: Mapping[str, Node] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    faults: tuple[Problem, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)

    def having(self, name: str, value: Node) -> Scope:
        """Give one of the variables another value."""
        secrets = {each: text for each, text in self.secrets.items() if each != name}
        return replace(self, values={**self.values, name: value}, secrets=secrets)


def declare(
    node: Node | None,
    given: Mapping[str, str],
    environ: Mapping[str, str],
    sensitive: Collection[str] = (),
) -> Scope:
    """Read a file's ``variables``.

    A value that is a credential by its names, or is declared ``secret``, is one unless it stands in
    the file itself.

    Args:
        node: Their mapping, or None.
        given: What the command line sets; it goes over everything else.
        environ: The environment, which goes over defaults.
        sensitive: Variables that are put where credentials are.

    """
    if node is None or is_null(node):
        return Scope()
    if not isinstance(node, MappingNode):
        message = "variables: expected a mapping of names to values"
        return Scope(faults=(place_of(node).problem(message),))
    values: dict[str, Node] = {}
    secrets: dict[str, str] = {}
    faults: list[Problem] = []
    for key, said in node.value:
        name = str(key.value)
        if not NAME.fullmatch(name):
            faults.append(_fault(key, name, "expected a name of letters, digits, _ and -"))
            continue
        wrong = list(_faults_of(name, said))
        faults.extend(wrong)
        value = plain(given[name], key) if name in given else _value(said, environ)
        outside = name in given or _from_environ(said, environ) is not None
        if value is not None and outside and _is_secret(said, sensitive=name in sensitive):
            secrets[name] = str(value.value)
            if len(secrets[name]) < SHORTEST:
                few = f"has a value of fewer than {SHORTEST} characters, too few to be masked"
                faults.append(_fault(key, name, f"{few}; say secret: false if it is no secret"))
        if value is not None:
            values[name] = value
        elif not wrong:
            mend = f"give it a default, or --set {name}=VALUE"
            faults.append(_fault(key, name, f"has no value; {mend}"))
    names = tuple(str(key.value) for key, _ in node.value)
    return Scope(values, names, tuple(faults), secrets)


def sensitive(root: MappingNode) -> set[str]:
    """Name the variables that a file puts into variables of nodes that hold credentials."""
    workload = entry(root, _FOREIGN)
    env = entry(workload[1], _ENV) if workload else None
    found = env[1].value if env and isinstance(env[1], MappingNode) else []
    return {
        name for key, value in found if looks_secret(str(key.value)) for name in _references(value)
    }


def unused(node: Node | None, parts: Iterable[Node]) -> list[Problem]:
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
        self.faults: list[Problem] = []

    def replace(self, node: Node, at: tuple[str, ...] = ("",)) -> Node:
        """Replace all references below a node.

        Those to secrets stay as they are, in the variables of a workload, and are wrong elsewhere.

        Args:
            node: What holds them.
            at: The keys that lead to it, of the whole file. Below ``workload``, what isn't declared
                is left to a shell or to Hydra.

        Raises:
            UnreadableError: Their values are too long, all together.

        """
        if isinstance(node, ScalarNode):
            return self._scalar(node, at)
        if isinstance(node, SequenceNode):
            items = [self.replace(item, (*at, "")) for item in node.value]
            return SequenceNode(node.tag, items, node.start_mark, node.end_mark)
        assert isinstance(node, MappingNode)
        entries: list[Entry] = [
            (key, self.replace(value, (*at, str(key.value)))) for key, value in node.value
        ]
        return with_entries(node, entries)

    def _scalar(self, node: ScalarNode, at: tuple[str, ...]) -> Node:
        text = str(node.value)
        if "${" not in text:
            return node
        foreign = at[0] == _FOREIGN
        if any(name in self._scope.secrets for name in _references(node)):
            if at[:2] != (_FOREIGN, _ENV) or len(at) != _SECRET_PLACE:
                self.faults.append(place_of(node).problem(_MISPLACED))
                return node
            text = _REFERENCE.sub(lambda found: self._text(found, node, foreign), text)
            return scalar(text, node)
        whole = _REFERENCE.fullmatch(text)
        if whole and whole[1] is not None:
            value = self._look_up(whole[1], node, foreign)
            return node if value is None else self._spend(value)
        text = _REFERENCE.sub(lambda found: self._text(found, node, foreign), text)
        return self._spend(scalar(text, self._origin(node)))

    def _origin(self, node: ScalarNode) -> Node:
        """Say where a text with references stands: where what another file gave it does."""
        given = (self._scope.values.get(found) for found in _references(node))
        name = node.start_mark.name
        return next((one for one in given if one and one.start_mark.name != name), node)

    def _text(self, found: re.Match[str], node: Node, foreign: bool) -> str:
        if found[1] is None:
            return "${"
        value = self._look_up(found[1], node, foreign)
        if value is None or found[1] in self._scope.secrets:
            return found[0]
        if not isinstance(value, ScalarNode):
            self.faults.append(
                place_of(node).problem(f"{found[0]} is no text, and can't be part of one")
            )
            return found[0]
        return str(value.value)

    def _look_up(self, name: str, node: Node, foreign: bool) -> Node | None:
        if name in self._scope.values:
            return self._scope.values[name]
        if not foreign and name not in self._scope.names:
            near = nearest(name, self._scope.names)
            mend = f"did you mean ${{{near}}}?" if near else "write $${ for a plain ${"
            self.faults.append(place_of(node).problem(f"unknown variable ${{{name[:60]}}}; {mend}"))
        return None

    def _spend(self, node: Node) -> Node:
        self._left -= sum(len(inner.value) for inner in scalars(node))
        if self._left < 0:
            message = f"references become more than {_LONGEST // 1024} KiB of text"
            raise UnreadableError(place_of(node).problem(message))
        return node


def _value(said: Node, environ: Mapping[str, str]) -> Node | None:
    if not isinstance(said, MappingNode):
        return said
    if (value := _from_environ(said, environ)) is not None:
        return value
    found = entry(said, "default")
    return found[1] if found else None


def _from_environ(said: Node, environ: Mapping[str, str]) -> Node | None:
    named = entry(said, "env")
    text = environ.get(named[1].value) if named and isinstance(named[1].value, str) else None
    return plain(text, named[1]) if named and text else None


def _is_secret(said: Node, *, sensitive: bool) -> bool:
    """Tell whether a value from outside is one: as the file says, or else by its names."""
    if told := entry(said, "secret"):
        return str(told[1].value).lower() == "true"
    named = entry(said, "env")
    return sensitive or bool(named and looks_secret(str(named[1].value)))


def _faults_of(name: str, said: Node) -> Iterator[Problem]:
    for inner in scalars(said):
        if _REFERENCE.search(str(inner.value)):
            yield _fault(inner, name, "a variable can't refer to others")
    if not isinstance(said, MappingNode):
        return
    for key, value in said.value:
        if key.value not in KEYS:
            hint = did_you_mean(str(key.value), KEYS, f"expected {', '.join(KEYS)}")
            yield _fault(key, f"{name}.{key.value}", f"unknown key{hint}")
        elif key.value == "secret":
            if not isinstance(value, ScalarNode) or not str(value.tag).endswith(":bool"):
                yield _fault(value, f"{name}.{key.value}", "expected true or false")
        elif key.value != "default" and (not isinstance(value, ScalarNode) or not value.value):
            yield _fault(value, f"{name}.{key.value}", "expected text")


def _references(node: Node) -> Iterator[str]:
    for inner in scalars(node):
        for found in _REFERENCE.finditer(str(inner.value)):
            if found[1] is not None:
                yield found[1]


def _fault(node: Node, name: str, message: str) -> Problem:
    return place_of(node).problem(f"variables.{name}: {message}")
