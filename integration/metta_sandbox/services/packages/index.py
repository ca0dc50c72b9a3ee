"""A package index (PEP 503) for nodes without a way out, which has nothing but asks the harness.

What the harness can't give is answered with 404 at once, with the reason, so that pip ends with
the package's name.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from html import escape
from pathlib import Path
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from metta_sandbox.node.agent.events import KnownEvent, PackageAsked
from metta_sandbox.services.packages.answers import (
    ROOT,
    Answer,
    ListedFile,
    attended_since,
    is_file_name,
    package_name,
    read_answer,
)

#: Seconds that the harness gets to download a file.
_PATIENCE = 900.0
#: Seconds between two looks at whether it has answered.
_LOOK = 0.005
_LONGEST_LOOK = 0.1
_NOBODY = "nobody answers for packages now: no scenario is being played on this stack"

Tell = Callable[[KnownEvent], Awaitable[None]]


def create_index(folder: Path, tell: Tell) -> Starlette:
    """Build the index.

    Args:
        folder: Where the harness answers.
        tell: Tells an event, by which the harness is asked.

    """
    index = _Index(folder, tell)
    return Starlette(
        routes=[
            Route(f"{ROOT}/{{name}}/", index.package),
            Route(f"{ROOT}/{{name}}", index.package),
            Route("/files/{name}/{file}", index.file),
        ]
    )


class _Index:
    def __init__(self, folder: Path, tell: Tell) -> None:
        self._folder = folder
        self._tell = tell
        self._since: int | None = None
        #: Answers, or who waits for them: nodes of a stack mostly ask for the same.
        self._known: dict[tuple[str, str | None], asyncio.Task[Answer]] = {}

    async def package(self, request: Request) -> Response:
        """List the files of a package."""
        try:
            name = package_name(request.path_params["name"])
        except ValueError as error:
            return PlainTextResponse(f"{error}\n", 404)
        answer = await self._ask(name)
        if answer.lacks:
            return PlainTextResponse(f"{name}: {answer.lacks}\n", 404)
        return HTMLResponse(page(name, answer.listed))

    async def file(self, request: Request) -> Response:
        """Give one of them."""
        file = request.path_params["file"]
        try:
            name = package_name(request.path_params["name"])
        except ValueError as error:
            return PlainTextResponse(f"{error}\n", 404)
        if not is_file_name(file):
            return PlainTextResponse("no file's name\n", 404)
        answer = await self._ask(name, file)
        if answer.lacks:
            return PlainTextResponse(f"{file}: {answer.lacks}\n", 404)
        return FileResponse(
            self._folder / answer.place, media_type="application/octet-stream", filename=file
        )

    async def _ask(self, package: str, file: str | None = None) -> Answer:
        since = attended_since(self._folder)
        if since is None:
            return Answer(_NOBODY)
        if since != self._since:
            self._since, self._known = since, {}
        known = self._known
        if (package, file) not in known:
            known[package, file] = asyncio.create_task(self._answer(package, file))
        # Whoever asked first may have gone away; the others still wait.
        answer = await asyncio.shield(known[package, file])
        if answer.lacks:
            known.pop((package, file), None)
        return answer

    async def _answer(self, package: str, file: str | None) -> Answer:
        question = secrets.token_hex(8)
        await self._tell(PackageAsked(question=question, package=package, file=file))
        deadline = time.monotonic() + _PATIENCE
        look = _LOOK
        while time.monotonic() < deadline:
            if answer := read_answer(self._folder, question):
                return answer
            if attended_since(self._folder) is None:
                return Answer(_NOBODY)
            await asyncio.sleep(look)
            look = min(look * 1.2, _LONGEST_LOOK)
        return Answer(f"the harness has not answered for {_PATIENCE:g} s")


def page(name: str, listed: tuple[ListedFile, ...]) -> str:
    """Write the page of a package."""
    links = "\n".join(_link(name, each) for each in listed)
    head = f"<!DOCTYPE html>\n<html><head><title>{name}</title></head>"
    return f"{head}<body>\n{links}\n</body></html>\n"


def _link(name: str, one: ListedFile) -> str:
    address = f"/files/{name}/{quote(one.file)}"
    if one.sha256:
        address += f"#sha256={one.sha256}"
    words = [f'href="{escape(address)}"']
    if one.requires_python:
        words.append(f'data-requires-python="{escape(one.requires_python)}"')
    if one.yanked is not None:
        words.append(f'data-yanked="{escape(one.yanked)}"')
    if one.has_metadata:
        words += ['data-core-metadata="true"', 'data-dist-info-metadata="true"']
    return f"<a {' '.join(words)}>{escape(one.file)}</a><br>"
