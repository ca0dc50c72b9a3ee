"""Who writes, and what was written: the part of the store that keeps account."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metta_sandbox.services.wandb.database import Database, now

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

#: Says which node a request is from; `WANDB_X_EXTRA_HTTP_HEADERS` has the client send it.
NODE_HEADER = "X-Metta-Node"
#: Tells processes of one node apart: the client makes one up each time it starts.
_CLIENT_HEADER = "X-WANDB-ASYNC-CLIENT-ID"
_LONGEST = 200


@dataclass(frozen=True)
class Writer:
    """Who sends a request.

    Args:
        node: What it calls itself; empty without the header.
        address: The peer's address.
        agent: The user agent: the client and its version.
        client: The process, where the client tells it; empty elsewhere.

    """

    node: str
    address: str
    agent: str
    client: str

    @classmethod
    def of(cls, connection: HTTPConnection) -> Writer:
        """Say who a request comes from."""
        headers = connection.headers
        return cls(
            node=headers.get(NODE_HEADER, "")[:_LONGEST],
            address=connection.client.host if connection.client else "",
            agent=headers.get("user-agent", "")[:_LONGEST],
            client=headers.get(_CLIENT_HEADER, "")[:_LONGEST],
        )


def writer_id(db: Database, writer: Writer) -> int:
    """Give the number of a writer, who is written down when new."""
    known = (writer.node, writer.address, writer.agent, writer.client)
    db.write(
        "INSERT INTO writers (node, address, agent, client, first_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        *known,
        now(),
    )
    return int(
        db.value(
            "SELECT id FROM writers WHERE node = ? AND address = ? AND agent = ? AND client = ?",
            *known,
        )
    )


def note_write(db: Database, writer: int, operation: str, run: int | None, **detail: Any) -> None:
    """Write down that somebody wrote something."""
    db.insert(
        "writes",
        at=now(),
        writer=writer,
        operation=operation,
        run=run,
        detail=json.dumps(detail),
    )


def note_unknown(db: Database, operation: str, message: str, agent: str) -> None:
    """Write down that a client asked for what the stand-in does not have."""
    db.write(
        "INSERT INTO unknown (operation, message, agent, first_at, count) VALUES (?, ?, ?, ?, 1)"
        " ON CONFLICT DO UPDATE SET count = count + 1",
        operation[:_LONGEST],
        message[:_LONGEST],
        agent[:_LONGEST],
        now(),
    )
