"""What the routes share: the store, who may come in, and how they refuse."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request
from graphql import GraphQLSchema
from starlette.responses import JSONResponse

from metta_sandbox.services.wandb.blobs import Blobs, Links
from metta_sandbox.services.wandb.context import Context
from metta_sandbox.services.wandb.database import Database
from metta_sandbox.services.wandb.writing import Writer, writer_id

#: What keys of W&B look like: at least forty letters, after what names an installation.
KEY = re.compile(r"[\w-]{40,200}", re.ASCII)


@dataclass(frozen=True)
class Service:
    """What the routes share."""

    db: Database
    blobs: Blobs
    links: Links
    schema: GraphQLSchema
    key: str | None
    entity_of: Callable[[str], str | None]
    silence: float
    patience: float

    def caller(self, request: Request) -> str | None:
        """Name whose key a request shows; None if it may not pass."""
        shown = _shown_key(request.headers.get("authorization", ""))
        if shown is None or not KEY.fullmatch(shown):
            return None
        if self.key is not None and not hmac.compare_digest(shown, self.key):
            return None
        return self.entity_of(shown)

    def writer(self, request: Request) -> int:
        """Give the number of who sends a request."""
        return writer_id(self.db, Writer.of(request))

    def context(self, request: Request, entity: str) -> Context:
        """Gather what an answer needs."""
        return Context(
            db=self.db,
            blobs=self.blobs,
            links=self.links,
            base_url=str(request.base_url).rstrip("/"),
            entity=entity,
            writer=self.writer(request),
            operation=request.scope["operation"],
            until=time.monotonic() + self.patience,
        )


def _shown_key(authorization: str) -> str | None:
    """Read the key from a header: ``Basic`` with ``api:KEY``, or ``Bearer KEY``."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    try:
        return base64.b64decode(rest, validate=True).decode("ascii").partition(":")[2]
    except (binascii.Error, ValueError):
        return None


def refusal(status: int, *messages: str) -> JSONResponse:
    """Answer an error as the client reads it."""
    return JSONResponse(
        {"errors": [{"message": message} for message in messages]}, status_code=status
    )
