"""Who may call: the tokens of ``~/.metta/observatory_tokens.yaml``, never shown to anybody."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from metta_sandbox.errors import InputError, Problem

_HINT = "each line reads: https://address-of-an-observatory: its-token"
#: What a header value can carry and JSON leaves as it is: visible ASCII but quote and backslash.
_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


@dataclass(frozen=True)
class Tokens:
    """The Observatory tokens of one file.

    Args:
        by_url: For each server's URL (without a closing slash) the token it gave out.

    """

    by_url: Mapping[str, str] = field(default_factory=dict, repr=False)

    def user(self, token: str | None) -> str | None:
        """Name whose token this is, after the server that gave it out; None for a stranger's."""
        for url, known in self.by_url.items():
            if known == token:
                return f"sandbox@{urlsplit(url).hostname}"
        return None

    def for_url(self, url: str) -> str | None:
        """Choose the token to present to a server.

        A token goes to the server it is for. The stand-in has none of its own: a server on
        this machine or in the stack's network is shown the file's first.
        """
        exact = self.by_url.get(url.rstrip("/"))
        if exact is None and _stands_in(url):
            return next(iter(self.by_url.values()), None)
        return exact


def _stands_in(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return "." not in host


def read_tokens(path: Path) -> Tokens:
    """Read a token file.

    Raises:
        InputError: It can't be read, or is not a mapping of URLs to tokens. No message quotes
            the file, since what stands there may be a token.

    """
    try:
        # The base loader keeps every scalar a text: a token of digits is still a token.
        found = YAML(typ="base", pure=True).load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise InputError(f"{path}: cannot read the tokens: {reason}", _HINT) from None
    except YAMLError as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        line = mark.line + 1 if mark else 0
        problem = Problem(path, line, 1 if mark else 0, "not YAML that maps addresses to tokens")
        raise InputError("The token file is not valid.", _HINT, (problem,)) from None
    if found is None:
        return Tokens()
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a mapping of addresses to tokens", _HINT)
    for number, (url, token) in enumerate(found.items(), start=1):
        if not urlsplit(str(url)).hostname:
            raise InputError(f"{path}: entry {number} does not begin with an address", _HINT)
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise InputError(f"{path}: what entry {number} gives {url} is not a token", _HINT)
    return Tokens({str(url).rstrip("/"): token for url, token in found.items()})
