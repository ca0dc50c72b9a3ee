"""The tokens in files that nodes see: what must be masked wherever anything is written."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from metta_sandbox.stack.credentials import TOKENS, Credential
from metta_sandbox.stack.provision import MountSpec

_NETRC = re.compile(r"\b(?:password|account)\s+(\S+)")
#: Bytes of a file of tokens.
_LARGEST = 256 * 1024


def tokens_in(credentials: Iterable[Credential], mounts: Iterable[MountSpec] = ()) -> set[str]:
    """Find the tokens in the files of credentials that nodes see; what can't be read has none."""
    places = [*(each.source for each in credentials), *(each.source for each in mounts)]
    return {token for place in places for file in _files(place) for token in _read(file)}


def _files(place: Path) -> Iterator[Path]:
    yield place
    for name in (".netrc", "_netrc", "credentials", TOKENS, ".aws/credentials", f".metta/{TOKENS}"):
        yield place / name


def _read(file: Path) -> Iterator[str]:
    try:
        if not file.is_file() or file.stat().st_size > _LARGEST:
            return
        text = file.read_text(errors="replace")
    except OSError:
        return
    if file.name in {".netrc", "_netrc"}:
        yield from _NETRC.findall(text)
    elif file.name == "credentials":
        yield from _of_profiles(text)
    elif file.name == TOKENS:
        yield from _of_yaml(text)


def _of_profiles(text: str) -> Iterator[str]:
    config = configparser.RawConfigParser(strict=False)
    try:
        config.read_string(text)
    except configparser.Error:
        return
    for section in config.sections():
        yield from (value for key, value in config.items(section) if "key" in key or "token" in key)


def _of_yaml(text: str) -> Iterator[str]:
    try:
        yield from _leaves(YAML(typ="base", pure=True).load(text))
    except YAMLError:
        return


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    elif isinstance(value, str):
        yield value
