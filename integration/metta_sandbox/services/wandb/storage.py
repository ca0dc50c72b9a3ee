"""The routes that bring files and take them."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, Response

from metta_sandbox.services.wandb.blobs import Content, TooLargeError
from metta_sandbox.services.wandb.database import Row, now
from metta_sandbox.services.wandb.service import Service, refusal
from metta_sandbox.services.wandb.writing import note_write


def add_files(app: FastAPI, service: Service) -> None:
    """Add what brings files and takes them."""
    _add_named(app, service)

    @app.put("/storage/{file}/{signature}")
    async def upload(request: Request, file: int, signature: str) -> Response:
        row = _file(service, file, signature)
        if row is None:
            return refusal(HTTPStatus.NOT_FOUND, "no such file")
        if (status := _unwanted(request.headers, largest=service.blobs.largest)) is not None:
            return refusal(status, "the file is too large, or comes in parts")
        try:
            content = await service.blobs.take(request.stream())
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody reads it
        except TooLargeError:
            return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the file is too large")
        await run_in_threadpool(_keep, service, request, row, content)
        return Response(status_code=HTTPStatus.OK)

    @app.get("/storage/{file}/{signature}")
    def download(file: int, signature: str) -> Response:
        row = _file(service, file, signature)
        if row is None or not row["sha256"]:
            return refusal(HTTPStatus.NOT_FOUND, "no such file")
        return _send(service, row)


def _add_named(app: FastAPI, service: Service) -> None:
    """Add files by names and digests, for who shows a key."""

    @app.get("/files/{entity}/{project}/{run}/{name:path}")
    def run_file(request: Request, entity: str, project: str, run: str, name: str) -> Response:
        if service.caller(request) is None:
            return refusal(HTTPStatus.UNAUTHORIZED, "the API key is not known here")
        row = service.db.row(
            "SELECT files.* FROM files JOIN runs ON runs.id = files.owner_id"
            " JOIN projects ON projects.id = runs.project WHERE owner = 'run' AND NOT deleted"
            " AND entity = ? AND projects.name = ? AND runs.name = ? AND files.name = ?"
            " AND sha256 IS NOT NULL",
            *(entity, project, run, name),
        )
        return _send(service, row) if row else refusal(HTTPStatus.NOT_FOUND, "no such file")

    @app.get("/artifactsV2/{rest:path}")
    @app.get("/artifacts/{rest:path}")
    def artifact_file(request: Request, rest: str) -> Response:
        """Send a file of an artifact by its digest, the last word of hexadecimal digits."""
        if service.caller(request) is None:
            return refusal(HTTPStatus.UNAUTHORIZED, "the API key is not known here")
        digests = [word for word in rest.split("/") if re.fullmatch("[0-9a-f]{32}", word)]
        md5 = base64.b64encode(bytes.fromhex(digests[-1])).decode() if digests else ""
        row = service.db.row(
            "SELECT * FROM files WHERE owner = 'artifact' AND md5 = ? AND sha256 IS NOT NULL", md5
        )
        return _send(service, row) if row else refusal(HTTPStatus.NOT_FOUND, "no such file")


def _file(service: Service, number: int, signature: str) -> Row | None:
    if not service.links.proven(number, signature):
        return None
    return service.db.row("SELECT * FROM files WHERE id = ?", number)


def _unwanted(headers: Mapping[str, str], largest: int) -> HTTPStatus | None:
    """Say what is wrong with an upload before it is read."""
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length) > largest:
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    # A client that goes on with an upload sends the rest of it alone.
    return HTTPStatus.NOT_IMPLEMENTED if "content-range" in headers else None


def _keep(service: Service, request: Request, row: Row, content: Content) -> None:
    """Write down what a file holds now."""
    with service.db.transaction():
        service.db.update(
            "files",
            row["id"],
            sha256=content.sha256,
            md5=content.md5,
            size=content.size,
            mimetype=row["mimetype"] or request.headers.get("content-type"),
            updated_at=now(),
        )
        run = row["owner_id"] if row["owner"] == "run" else None
        told = {"file": row["name"], "size": content.size, "sha256": content.sha256}
        note_write(service.db, service.writer(request), "upload", run, **told)


def _send(service: Service, row: Row) -> Response:
    """Send a file as something to keep, never as something to show: a run chose what is in it."""
    headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
    return FileResponse(
        service.blobs.path(row["sha256"]),
        media_type="application/octet-stream",
        headers=headers,
        filename=row["name"].rpartition("/")[2],
    )
