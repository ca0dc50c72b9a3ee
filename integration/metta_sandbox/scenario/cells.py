"""What the cells of a matrix are called: for people, and for folders and Compose projects."""

from __future__ import annotations

import hashlib
import re

from ruamel.yaml.nodes import ScalarNode

from metta_sandbox.scenario.matrix import Axis, Matrix

#: As long as a scenario's name may be.
_LONGEST = 64
_LONGEST_VALUE = 32


def titles(name: str, matrix: Matrix) -> list[str]:
    """Name the cells for people: ``basic[nodes=2,batch_size=256]``.

    A key is called by its last parts, as many as tell it from the others; a value that is no short
    text by its number in the list.
    """
    labels = _labels([axis.key for axis in matrix.axes])
    return [
        f"{name}[{','.join(pairs)}]"
        for cell in matrix.combinations
        for pairs in [
            [
                f"{label}={_text(axis, index)}"
                for label, axis, index in zip(labels, matrix.axes, cell, strict=True)
            ]
        ]
    ]


def slugs(shown: list[str]) -> list[str]:
    """Turn cells' names into ones of a-z, 0-9 and ``-``, all different, at most 64 long."""
    found: list[str] = []
    plain = [_slug(title) for title in shown]
    for title, text in zip(shown, plain, strict=True):
        tail = hashlib.sha256(title.encode()).hexdigest()[:8]
        unfit = len(text) > _LONGEST or plain.count(text) > 1
        found.append(f"{text[: _LONGEST - 9].strip('-')}-{tail}" if unfit else text)
    return found


def _slug(title: str) -> str:
    text = re.sub(r"=-", "=minus-", title.lower())
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")


def _labels(keys: list[str]) -> list[str]:
    parts = [key.split(".") for key in keys]
    labels = []
    for own in parts:
        size = 1
        while size < len(own) and sum(other[-size:] == own[-size:] for other in parts) > 1:
            size += 1
        labels.append(".".join(own[-size:]))
    return labels


def _text(axis: Axis, index: int) -> str:
    node = axis.nodes[index]
    text = str(node.value) if isinstance(node, ScalarNode) else ""
    short = 0 < len(text) <= _LONGEST_VALUE and re.fullmatch(r"[^\s,\[\]=]+", text)
    return text if short and text.isprintable() else f"#{index + 1}"
