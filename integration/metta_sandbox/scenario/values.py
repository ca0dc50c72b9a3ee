"""The values of Hydra's override grammar: typed words, quoted strings, lists and mappings."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from pydantic import JsonValue

#: What an override may be set to.
Value: TypeAlias = JsonValue

_DEEPEST = 32
_INT = re.compile(r"[+-]?(?:0|[1-9](?:_?\d){0,300})")
_FLOAT = re.compile(
    r"[+-]?(?:(?:\d+\.\d*|\.\d+)(?:e[+-]?\d+)?|\d+e[+-]?\d+|inf|nan)", re.IGNORECASE
)
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
#: What ends an unquoted word inside brackets, and what one may never hold but behind a backslash.
_ENDS = ",]})"
_NEVER = "[]{}()'\",\n"
#: What a backslash in an unquoted word takes its meaning from. In front of all else it is itself.
_ESCAPED = "\\()[]{}:=, \t"
#: The functions that give one value; the others of Hydra's sweep, which is a launcher's to do.
_CAST = re.compile(r"(int|float|str|bool)[ \t]*\([ \t]*(?:value[ \t]*=[ \t]*)?")


def read_value(text: str) -> Value:
    """Read a whole value; nothing after the equals sign is the empty string.

    Raises:
        ValueError: It does not follow the grammar.

    """
    reader = _Reader(text)
    reader.skip()
    if reader.at_end():
        return ""
    value = reader.value(nested=False, depth=0)
    reader.skip()
    if not reader.at_end():
        raise reader.wrong("expected the end; a list is written [a,b], other text is quoted")
    return value


def write_value(value: Value) -> str:
    """Write a value so that ``read_value`` reads the same one back."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, list):
        return "[" + ",".join(write_value(item) for item in value) + "]"
    if isinstance(value, dict):
        pairs = (f"{_write_key(key)}:{write_value(item)}" for key, item in value.items())
        return "{" + ",".join(pairs) + "}"
    return _write_text(value)


def spelt(value: Value) -> Value:
    """Write numbers that JSON has no spelling for as texts: ``nan``, ``inf`` and ``-inf``."""
    if isinstance(value, list):
        return [spelt(item) for item in value]
    if isinstance(value, dict):
        return {key: spelt(item) for key, item in value.items()}
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _typed(word: str) -> Value:
    lowered = word.lower()
    if lowered in _WORDS:
        return _WORDS[lowered]
    if _INT.fullmatch(word):
        return int(word)
    return float(word) if _FLOAT.fullmatch(word) else word


def _write_text(text: str) -> str:
    if re.fullmatch(r"[\w./+@%-]+", text, re.ASCII) and isinstance(_typed(text), str):
        return text
    # Only backslashes in front of a quote (the closing one too) count as escapes.
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    tail = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{chr(92) * tail}'"


def _write_key(text: str) -> str:
    """Write a mapping's key. Hydra takes none in quotes, so what it can take is escaped."""
    if re.fullmatch(r"[\w./+@%?*|$\\()\[\]{}:=, \t-]+", text, re.ASCII):
        return "".join(f"\\{mark}" if mark in _ESCAPED else mark for mark in text)
    return _write_text(text)


def _cast_int(value: Value) -> Value:
    return int(value)  # type: ignore[arg-type] # what is no number is refused by whoever asks


def _cast_float(value: Value) -> Value:
    return float(value)  # type: ignore[arg-type] # see above


def _cast_str(value: Value) -> Value:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cast_bool(value: Value) -> Value:
    if isinstance(value, str):
        return {"true": True, "false": False}[value.lower()]
    return bool(value)


_CASTS: Mapping[str, Callable[[Value], Value]] = {
    "int": _cast_int,
    "float": _cast_float,
    "str": _cast_str,
    "bool": _cast_bool,
}


def _cast(name: str, value: Value) -> Value:
    """Cast a value, or all in a list or a mapping, as Hydra's function of this name does."""
    if isinstance(value, list):
        return [_cast(name, item) for item in value]
    if isinstance(value, dict):
        return {key: _cast(name, item) for key, item in value.items()}
    try:
        if value is not None:
            return _CASTS[name](value)
    except (ValueError, OverflowError, KeyError):
        pass
    raise ValueError(f"{write_value(value)[:20]} is no {name}")


class _Reader:
    """A recursive-descent reader over one value's text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def value(self, *, nested: bool, depth: int) -> Value:
        if depth > _DEEPEST:
            raise self.wrong(f"nested deeper than {_DEEPEST} levels")
        self.skip()
        head = self._peek()
        if head == "[":
            return self._list(depth)
        if head == "{":
            return self._mapping(depth)
        if head and head in "'\"":
            return self._quoted()
        if (cast := _CAST.match(self._text, self._at)) is not None:
            return self._function(cast, depth)
        word, escaped = self._word(_ENDS if nested else "")
        return word if escaped else _typed(word)

    def skip(self) -> None:
        while self._peek() in {" ", "\t"}:
            self._at += 1

    def at_end(self) -> bool:
        return self._at >= len(self._text)

    def wrong(self, expected: str) -> ValueError:
        return ValueError(f"{expected} (at {self._text[self._at :][:20]!r})")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, mark: str) -> bool:
        self.skip()
        if self._peek() != mark:
            return False
        self._at += 1
        return True

    def _list(self, depth: int) -> list[Value]:
        self._at += 1
        items: list[Value] = []
        while not self._take("]"):
            if items and not self._take(","):
                raise self.wrong("expected , or ]")
            items.append(self.value(nested=True, depth=depth + 1))
        return items

    def _mapping(self, depth: int) -> dict[str, Value]:
        self._at += 1
        pairs: dict[str, Value] = {}
        while not self._take("}"):
            if pairs and not self._take(","):
                raise self.wrong("expected , or }")
            self.skip()
            key = self._quoted() if self._peek() in {"'", '"'} else self._word(":")[0]
            if key in pairs:
                raise self.wrong(f"{key!r} is given twice")
            if not self._take(":"):
                raise self.wrong("expected :")
            pairs[key] = self.value(nested=True, depth=depth + 1)
        return pairs

    def _function(self, name: re.Match[str], depth: int) -> Value:
        self._at = name.end()
        value = self.value(nested=True, depth=depth + 1)
        if not self._take(")"):
            raise self.wrong("expected )")
        return _cast(name[1], value)

    def _word(self, ends: str) -> tuple[str, bool]:
        """Read an unquoted word, and tell whether something in it was escaped."""
        word, kept = "", 0
        while not self.at_end() and self._peek() not in ends:
            start = self._at
            if self._text.startswith("${", start):
                self._interpolation()
            elif self._peek() == "\\" and self._text[start + 1 : start + 2] in set(_ESCAPED):
                self._at += 2
                word += self._text[start + 1]
                kept = len(word)
                continue
            elif self._peek() in _NEVER:
                raise self.wrong("expected the end; a list is written [a,b], other text is quoted")
            else:
                self._at += 1
            word += self._text[start : self._at]
        word = word[:kept] + word[kept:].rstrip(" \t")
        if not word:
            raise self.wrong("expected a value")
        return word, kept > 0

    def _interpolation(self) -> None:
        end = self._text.find("}", self._at)
        if end < 0:
            raise self.wrong("expected } after ${")
        self._at = end + 1

    def _quoted(self) -> str:
        quote, start, text = self._peek(), self._at + 1, ""
        while (end := self._text.find(quote, start)) >= 0:
            plain = self._text[start:end].rstrip("\\")
            escapes = end - start - len(plain)
            text += plain + "\\" * (escapes // 2)
            start = end + 1
            if escapes % 2 == 0:
                self._at = start
                return text
            text += quote
        raise self.wrong(f"expected a closing {quote}")
