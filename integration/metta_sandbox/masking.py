"""Secrets, known by their values, are hidden wherever text of anybody's is written.

What is hidden is a process's own: what one of several scenarios gives its nodes is hidden in all.
Without secrets nothing is looked for, and nothing costs anything.
"""

from __future__ import annotations

import base64
import html
import json
import re
import string
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, quote_plus

#: What stands where a secret stood.
MASK = "***"
#: Characters. A shorter text stands in too many places by chance.
SHORTEST = 8
#: Lines of a secret of several lines, such as a key, that are looked for.
_MOST_LINES = 200
#: Letters that base64 is written in, and how many of them programs write to a line.
_LETTERS = (string.ascii_letters + string.digits + "+/-_").encode()
_LINE = 76
#: Letters by which a line of what was encoded is known: one such piece is in every whole line.
_PIECE = 16


class Masker:
    """Finds values in any form that programs write them in, and hides them.

    A value of several lines is looked for line by line.

    Args:
        values: What to hide; those that are too short are left alone.

    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self.values = frozenset(values)
        parts = {part for value in self.values for part in _parts(value)}
        forms = {form for part in parts for form in _forms(part)}
        #: What stands for the line around it.
        self._pieces = {piece for part in parts for piece in _pieces(part)} - forms
        forms |= self._pieces
        self._forms = tuple(sorted(forms, key=lambda form: (-len(form), form)))
        self.longest = len(self._forms[0]) if self._forms else 0
        self._prefixes = {form[:end] for form in self._forms for end in range(1, len(form))}

    def __bool__(self) -> bool:
        return bool(self._forms)

    def finds(self, data: bytes) -> bool:
        """Tell whether a value stands there."""
        # Many times faster than one automaton of Python's for all of them.
        return any(form in data for form in self._forms)

    def mask(self, data: bytes) -> bytes:
        """Hide all values in some data."""
        return _without(data, self._spans(data))

    def mask_text(self, text: str) -> str:
        """Hide all values in a text."""
        if not self._forms:
            return text
        data = text.encode(errors="surrogatepass")
        hidden = self.mask(data)
        return text if hidden is data else hidden.decode(errors="surrogatepass")

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """Hide all values in the first part of something longer.

        Returns:
            What can be written, and what has to wait, since a value may begin there.

        """
        line = data.rfind(b"\n") + 1
        first = max(line, len(data) - self.longest + 1)
        # No form has a line's end in it.
        edge = next(
            (at for at in range(first, len(data)) if data[at:] in self._prefixes), len(data)
        )
        if self._pieces:
            edge = min(edge, _line_around(data, len(data), len(data))[0])
        spans = self._spans(data)
        # What is found may turn out to be the beginning of something longer.
        edge = next((start for start, end in spans if start < edge < end), edge)
        return _without(data[:edge], [span for span in spans if span[1] <= edge]), data[edge:]

    def _spans(self, data: bytes) -> list[tuple[int, int]]:
        """Find where values stand; where they overlap, as one."""
        found = []
        for form in self._forms:
            at = data.find(form)
            while at >= 0:
                end = at + len(form)
                found.append(_line_around(data, at, end) if form in self._pieces else (at, end))
                at = data.find(form, at + 1)
        spans: list[tuple[int, int]] = []
        for start, end in sorted(found):
            if spans and start < spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            else:
                spans.append((start, end))
        return spans


class MaskedStream:
    """Hides values in what comes in pieces, also across their borders.

    Args:
        masker: Knows the values.

    """

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """Take a piece, and give what can be written so far."""
        written, self._held = self._masker.split(self._held + piece)
        return written

    def finish(self) -> bytes:
        """Give what was held back, with its values hidden."""
        rest, self._held = self._held, b""
        return self._masker.mask(rest)


def _without(data: bytes, spans: Sequence[tuple[int, int]]) -> bytes:
    if not spans:
        return data
    starts = [0, *(end for _, end in spans)]
    ends = [*(start for start, _ in spans), len(data)]
    return MASK.encode().join(data[start:end] for start, end in zip(starts, ends, strict=True))


_lock = threading.Lock()
_masker = Masker()


def hide(values: Iterable[str]) -> None:
    """Hide some values from now on."""
    global _masker  # noqa: PLW0603 - the one thing that a process knows of its secrets
    with _lock:
        if new := set(values) - _masker.values:
            _masker = Masker(_masker.values | new)


def masker() -> Masker:
    """Return what hides the secrets that are known by now."""
    return _masker


def masked(text: str) -> str:
    """Hide the secrets that are known by now."""
    return _masker.mask_text(text)


def masked_data(value: Any) -> Any:
    """Hide the secrets that are known by now in all texts of plain data."""
    if not _masker:
        return value
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {masked_data(key): masked_data(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(masked_data(inner) for inner in value)
    return value


def _parts(value: str) -> Iterator[str]:
    """Give the lines that are looked for; what begins and ends a key is no secret."""
    lines = [line.strip() for line in value.splitlines()]
    kept = [line for line in lines if len(line) >= SHORTEST and not line.startswith("-----")]
    yield from kept[:_MOST_LINES]


def _forms(value: str) -> Iterator[bytes]:
    texts = {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        html.escape(value),
        # As a shell, and YAML, write a quote within quotes.
        value.replace("'", "'\"'\"'"),
        value.replace("'", "''"),
        *(
            form
            for each in (quote(value, safe=""), quote(value), quote_plus(value))
            for form in (each, _in_small_hex(each))
        ),
    }
    yield from (text.encode(errors="surrogatepass") for text in texts)
    for encoded in _encoded(value):
        yield from {encoded, encoded.translate(bytes.maketrans(b"+/", b"-_"))}


def _encoded(value: str) -> Iterator[bytes]:
    """Write a value in base64, as it stands there after any number of other bytes."""
    data = value.encode(errors="surrogatepass")
    for before in range(3):
        # Of the first and last letters some bits are those of what stands beside it.
        whole = base64.b64encode(bytes(before) + data)
        yield whole[(0, 2, 3)[before] : (before + len(data)) * 8 // 6]


def _pieces(value: str) -> Iterator[bytes]:
    """Give what a value of more than a line of base64 is known by in each of its lines."""
    for encoded in _encoded(value):
        last = len(encoded) - _PIECE
        if last >= _LINE - 2 * _PIECE:
            yield from (encoded[at : at + _PIECE] for at in (*range(0, last, _LINE - _PIECE), last))


def _line_around(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Find where the base64 begins and ends that something is within, as far as a line goes."""
    before, after = data[max(0, start - _LINE) : start], data[end : end + _LINE]
    padded = after.lstrip(_LETTERS).lstrip(b"=")
    return start - len(before) + len(before.rstrip(_LETTERS)), end + len(after) - len(padded)


def _in_small_hex(quoted: str) -> str:
    return re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)
