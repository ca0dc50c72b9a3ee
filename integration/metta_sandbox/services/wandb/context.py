"""What answering one request needs, and what all things that queries give have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from graphql import GraphQLError

from metta_sandbox.services.wandb.blobs import Blobs, Links
from metta_sandbox.services.wandb.database import Database, Row, now
from metta_sandbox.services.wandb.ids import make_id
from metta_sandbox.services.wandb.writing import note_write


@dataclass(frozen=True)
class Context:
    """One request's.

    Args:
        db: The store.
        blobs: The contents of files.
        links: Makes addresses of files.
        base_url: The server's address as the client knows it, without a slash at the end.
        entity: Whose key the client has: a name.
        writer: The number of who asks.
        operation: The name of what is asked.
        until: When it is too late to go on answering, on the monotonic clock.

    """

    db: Database
    blobs: Blobs
    links: Links
    base_url: str
    entity: str
    writer: int
    operation: str
    until: float

    def address(self, file: int) -> str:
        """Say where a file is read and written."""
        return f"{self.base_url}/storage/{file}/{self.links.sign(file)}"

    def require_time(self) -> None:
        """Give up an answer that takes too long: each run may be asked for its project's runs.

        Raises:
            GraphQLError: It does.

        """
        if time.monotonic() > self.until:
            raise GraphQLError("this takes the stand-in too long to answer; ask for less")

    def note(self, run: int | None = None, **detail: Any) -> None:
        """Write down that this request wrote something."""
        note_write(self.db, self.writer, self.operation, run, **detail)


class Node:
    """A row, of which a query asks for fields. A field without a method is the column."""

    #: What stands in front of its ids.
    kind: ClassVar[str]

    def __init__(self, context: Context, row: Row) -> None:
        self.context = context
        self.db = context.db
        self.row = row
        self.id = make_id(self.kind, row["id"])

    def __getattr__(self, name: str) -> Any:
        try:
            return self.row[name]
        except KeyError:
            raise AttributeError(name) from None


def page(
    found: Sequence[Any], first: int | None, after: str | None, node: Callable[[Any], Any]
) -> dict[str, Any]:
    """Give a page of what was found; a cursor is the number of things before what follows it.

    Raises:
        GraphQLError: ``after`` is no cursor.

    """
    if after and not after.isdecimal():
        raise GraphQLError(f"after: {after[:40]!r} is no cursor")
    start = int(after or 0)
    end = len(found) if first is None else min(len(found), start + max(first, 0))
    chosen = found[start:end]
    return {
        "edges": [
            {"node": node(each), "cursor": str(number)}
            for number, each in enumerate(chosen, start + 1)
        ],
        "page_info": {"end_cursor": str(start + len(chosen)), "has_next_page": end < len(found)},
        "total_count": len(found),
    }


def crash_silent_runs(db: Database, seconds: float) -> None:
    """Call runs crashed that have given no sign of life for so long."""
    db.write(
        "UPDATE runs SET state = 'crashed'"
        " WHERE state IN ('running', 'preempting') AND heartbeat_at < ?",
        now() - seconds,
    )
