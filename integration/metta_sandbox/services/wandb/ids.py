"""What clients call things by: names that are checked, and ids that are base64, as W&B's are."""

from __future__ import annotations

import base64
import binascii
import secrets
import string
from datetime import datetime, timezone

from graphql import GraphQLError

_LONGEST_NAME = 128
_LONGEST_PATH = 1024
_LETTERS = string.ascii_lowercase + string.digits


class MissingError(GraphQLError):
    """What was asked for is not there; HTTP says 404, which no client tries again."""


def make_id(kind: str, number: int) -> str:
    """Give the id of a row: ``make_id("Run", 3)``."""
    return base64.b64encode(f"{kind}:{number}".encode()).decode()


def read_id(kind: str, text: str | None) -> int:
    """Give the row that an id is of.

    Raises:
        MissingError: It is no id of this kind.

    """
    try:
        found, _, number = base64.b64decode(text or "", validate=True).decode().partition(":")
        if found == kind:
            return int(number)
    except (binascii.Error, ValueError):
        pass
    raise MissingError(f"{str(text)[:80]!r} is no id of a {kind}")


def fresh_name() -> str:
    """Make up a name as W&B does for runs and sweeps: eight letters."""
    return "".join(secrets.choice(_LETTERS) for _ in range(8))


def checked_name(name: str, what: str) -> str:
    """Return the name of an entity, a project, a run or a sweep, if it can be one.

    Raises:
        GraphQLError: It is empty, too long, or has characters that addresses give a meaning.

    """
    if not name or len(name) > _LONGEST_NAME:
        raise GraphQLError(f"{what} name: expected 1 to {_LONGEST_NAME} characters")
    if any(letter in '/\\#?%:"' or not letter.isprintable() for letter in name):
        raise GraphQLError(f"{what} name {name[:40]!r}: cannot contain / \\ # ? % : or a quote")
    return name


def checked_path(name: str) -> str:
    """Return a file's name, if it stays within the folder of its run.

    Raises:
        GraphQLError: It does not, or is no text for a file's name.

    """
    parts = name.split("/")
    if not name or len(name) > _LONGEST_PATH or not all(map(str.isprintable, parts)):
        raise GraphQLError(f"file name {name[:40]!r}: expected 1 to {_LONGEST_PATH} characters")
    if ".." in parts or name.startswith("/"):
        raise GraphQLError(f"file name {name[:40]!r}: leads out of its run")
    return name


def when(seconds: float | None) -> str | None:
    """Write a time as the client reads it."""
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
