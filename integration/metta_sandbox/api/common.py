"""What all routes have in common: how bodies are read, and what is kept of them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any

from fastapi import Header, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from metta_sandbox.observatory_tokens import Tokens

#: The header that a token comes in.
TOKEN_HEADER = "X-Auth-Token"  # noqa: S105 - the header's name

IdempotencyKey = Annotated[str | None, Header()]
Named = Annotated[str, Field(min_length=1)]
Limit = Annotated[int, Query(ge=0, le=1000)]
Offset = Annotated[int, Query(ge=0, le=2**31)]
#: Attributes and the like, which are nobody's but the caller's.
Values = dict[str, Any]

Refusals = dict[int | str, dict[str, Any]]
MAY_BE_MISSING: Refusals = {404: {"description": "There is none."}}


class Kept(BaseModel):
    """Something kept as it was sent: further fields are welcome."""

    model_config = ConfigDict(frozen=True, extra="allow")


def as_json(body: BaseModel) -> dict[str, Any]:
    """Give what was sent as plain data."""
    return body.model_dump(mode="json")


def found(record: dict[str, Any] | None, kind: str, record_id: str) -> dict[str, Any]:
    """Give a record.

    Raises:
        HTTPException: There is none.

    """
    if record is None:
        raise HTTPException(404, f"nothing under {kind} has the id {record_id!r}")
    return record


def now() -> str:
    """Give the time as Observatory writes it."""
    return datetime.now(timezone.utc).isoformat()


def who(request: Request, tokens: Tokens) -> str:
    """Name the caller."""
    return tokens.user(request.headers.get(TOKEN_HEADER)) or "anonymous"
