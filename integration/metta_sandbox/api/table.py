"""The routes as the documentation's table: ``python -m metta_sandbox.api.table`` writes it anew."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fastapi import FastAPI
from fastapi.routing import APIRoute

from metta_sandbox.api.app import create_app

DOCUMENT = Path(__file__).parents[3] / "docs" / "control-plane.md"
_BEGIN, _END = "<!-- the routes, generated -->\n", "<!-- the end of the routes -->\n"


def served(app: FastAPI) -> Iterator[tuple[str, APIRoute]]:
    """Give each route of the contract with its method, in the order of their paths."""
    routes = [route for route in app.router.routes if isinstance(route, APIRoute)]
    for route in sorted(routes, key=lambda one: (one.path, sorted(one.methods or ()))):
        for method in sorted(route.methods or ()):
            yield method, route


def table(app: FastAPI) -> str:
    """Write a row for each route: what a call must say, and what it is answered."""
    head = "| route | required | answer |\n| --- | --- | --- |\n"
    return head + "".join(_row(method, route) for method, route in served(app))


def document(app: FastAPI) -> str:
    """Give the page about the control plane with the table as it must stand there."""
    before, _, rest = DOCUMENT.read_text().partition(_BEGIN)
    return f"{before}{_BEGIN}\n{table(app)}\n{_END}{rest.partition(_END)[2]}"


def _row(method: str, route: APIRoute) -> str:
    required = [
        *(f"`{name}`" for name in _fields(route)),
        *(
            f"`?{one.alias}`"
            for one in route.dependant.query_params
            if one.field_info.is_required()
        ),
    ]
    about = " ".join((inspect.getdoc(route.endpoint) or "").split())
    if 404 in route.responses:  # noqa: PLR2004 - the status's own name says less
        about += " A 404 if there is none."
    return f"| `{method} {route.path}` | {', '.join(required)} | {about} |\n"


def _fields(route: APIRoute) -> Iterator[str]:
    """Name the fields that a body must have."""
    for body in route.dependant.body_params:
        model = body.field_info.annotation
        inner = next(iter(getattr(model, "__args__", ())), model)
        for name, field in getattr(inner, "model_fields", {}).items():
            if field.is_required():
                yield name


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as data:
        DOCUMENT.write_text(document(create_app(Path(data))))
