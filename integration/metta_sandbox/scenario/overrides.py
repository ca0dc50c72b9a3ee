"""Hydra-style overrides, ``trainer.ppo.clip_coef=0.2``: reading, writing, flattening.

The grammar is the part of Hydra's that names one value: ``key=value``, ``+key=value`` (add),
``++key=value`` (add or set), ``~key`` (delete) and ``~key=value`` (delete if it is that); a key may
be a group's, ``db@package``. A sweep over choices (``key=1,2``, ``key=range(3)``) belongs to a
launcher and is refused. All that Hydra reads means the same here. More than that is read, too: text
with marks that Hydra wants quoted, which are quoted for it.
See https://hydra.cc/docs/advanced/override_grammar/basic/.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.values import Value, read_value, spelt, write_value

Op = Literal["", "+", "++", "~"]

_KEY = re.compile(r"[A-Za-z_$][\w$-]*(?:[./@:][\w$-]+)*")
_OVERRIDE = re.compile(r"(?P<op>\+\+|\+|~|)(?P<key>[^=\s]*)(?P<value>=.*)?", re.DOTALL)


@dataclass(frozen=True)
class Override:
    """One override: a dotted key and its value.

    Args:
        op: What is done to the key: ``""`` sets a known one, ``"+"`` adds a new one, ``"++"`` does
            either, ``"~"`` deletes it.
        key: Dotted, without the operator.
        value: What it is set to. Of a deletion: what it must be; None for whatever it is.

    """

    op: Op
    key: str
    value: Value = None


def is_key(text: str) -> bool:
    """Tell whether a text is a dotted key, without an operator."""
    return _KEY.fullmatch(text) is not None


def split_key(text: str) -> tuple[Op, str]:
    """Part a key from its operator.

    Raises:
        ValueError: It is not a key such as ``trainer.batch_size`` or ``+trainer.mine``.

    """
    match = _OVERRIDE.fullmatch(text)
    if match is None or match["value"] or not _KEY.fullmatch(match["key"]):
        raise ValueError(f"expected a key such as trainer.batch_size, not {text[:80]!r}")
    op: Op = match["op"]  # type: ignore[assignment] # the regular expression allows no other
    return op, match["key"]


def parse(text: str) -> Override:
    """Read one override as it stands on a command line.

    Raises:
        ValueError: It does not follow the grammar; the text says where it leaves it.

    """
    head, equals, value = text.partition("=")
    op, key = split_key(head.strip())
    if not equals:
        if op == "~":
            return Override(op, key)
        raise ValueError(f"expected {text[:80]}=VALUE")
    return Override(op, key, read_value(value))


def parse_all(texts: Iterable[str]) -> tuple[Override, ...]:
    """Read a command line's overrides.

    Raises:
        InputError: Some do not follow the grammar; all of them are named.

    """
    found: list[Override] = []
    wrong: list[str] = []
    for text in texts:
        try:
            found.append(parse(text))
        except ValueError as error:
            wrong.append(f"override {text[:80]!r}: {error}")
    if wrong:
        raise InputError("\n".join(wrong), "overrides are written key=value, as for Hydra")
    return tuple(found)


def format(override: Override) -> str:  # noqa: A001 - the counterpart of parse
    """Write an override so that ``parse`` reads the same one back."""
    if override.op == "~" and override.value is None:
        return f"~{override.key}"
    return f"{override.op}{override.key}={write_value(override.value)}"


def flatten(nested: Mapping[str, Value] | Sequence[str]) -> dict[str, Value]:
    """Write overrides as one dotted key each, in the order given.

    Args:
        nested: Mappings in mappings, dotted keys, both mixed, or a list of ``key=value``. Operators
            stay at the front of the dotted key (``+trainer.mine``). An empty mapping is a value.

    Raises:
        ValueError: A key is malformed, or given twice.

    """
    flat: dict[str, Value] = {}
    given: set[str] = set()
    for key, value in _leaves(nested):
        _, bare = split_key(key)
        if bare in given:
            raise ValueError(f"{bare} is given twice")
        given.add(bare)
        flat[key] = value
    return flat


def abridged(overrides: Mapping[str, Value]) -> dict[str, Value]:
    """Replace each value that is too long to repeat in every event by its length and digest.

    Equal values have equal digests, so what is abridged can still be compared. What is no number is
    spelt as text.
    """
    return {key: _abridged(value) for key, value in overrides.items()}


#: Characters of JSON that a value may have to be told as it is.
_LONGEST_TOLD = 4096


def _abridged(value: Value) -> Value:
    value = spelt(value)
    text = json.dumps(value)
    if len(text) <= _LONGEST_TOLD:
        return value
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"[{len(text)} characters of JSON, SHA-256 {digest}]"


def _leaves(nested: Mapping[str, Value] | Sequence[str]) -> Iterator[tuple[str, Value]]:
    if not isinstance(nested, Mapping):
        for override in map(parse, nested):
            yield f"{override.op}{override.key}", override.value
        return
    for key, value in nested.items():
        if not isinstance(value, Mapping) or not value:
            yield key, value
            continue
        for rest, leaf in _leaves(value):
            op, tail = split_key(rest)
            yield f"{op}{key}.{tail}", leaf


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """End a message about an unknown word: ask for the nearest one, or say something else.

    Args:
        word: What was written.
        known: What could have been.
        otherwise: What is said where nothing is near; the message ends there if it is empty.

    """
    near = nearest(word, known)
    hint = f"did you mean {near}?" if near else otherwise
    return f"; {hint}" if hint else ""


def nearest(key: str, known: Iterable[str]) -> str | None:
    """Name the known key that was probably meant, or None if nothing is near."""
    matches = difflib.get_close_matches(key, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None
