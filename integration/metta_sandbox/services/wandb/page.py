"""The one page: what runs and sweeps there are. It brings no script, and fetches nothing."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from starlette.responses import HTMLResponse

from metta_sandbox.safe_text import for_html
from metta_sandbox.services.wandb.database import Database
from metta_sandbox.services.wandb.ids import when
from metta_sandbox.services.wandb.streams import loaded

#: Rows of each table at most, the latest.
_MOST = 500
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>W&amp;B, standing in</title><style>
body { font: 14px system-ui, sans-serif; margin: 2em }
table { border-collapse: collapse; margin-bottom: 2em }
th, td { border-bottom: 1px solid #ccc; padding: .3em .8em; text-align: left; vertical-align: top }
td { max-width: 40em; overflow-wrap: anywhere }
</style></head><body>
"""


def render(db: Database) -> HTMLResponse:
    """Write the page."""
    runs = db.rows(
        "SELECT runs.*, projects.name AS project_name, entity, sweeps.name AS sweep_name FROM runs"
        " JOIN projects ON projects.id = runs.project LEFT JOIN sweeps ON sweeps.id = runs.sweep"
        " WHERE NOT deleted ORDER BY runs.id DESC LIMIT ?",
        _MOST,
    )
    sweeps = db.rows(
        "SELECT sweeps.*, projects.name AS project_name, entity,"
        " (SELECT COUNT(*) FROM runs WHERE runs.sweep = sweeps.id) AS runs FROM sweeps"
        " JOIN projects ON projects.id = sweeps.project ORDER BY sweeps.id DESC LIMIT ?",
        _MOST,
    )
    unknown = db.rows("SELECT * FROM unknown ORDER BY first_at DESC LIMIT ?", _MOST)
    tables = [
        _table(
            "Runs",
            ("project", "run", "name", "state", "sweep", "began", "summary"),
            [
                (
                    f"{row['entity']}/{row['project_name']}",
                    row["name"],
                    row["display_name"],
                    row["state"],
                    row["sweep_name"],
                    when(row["created_at"]),
                    _summary(row["summary"]),
                )
                for row in runs
            ],
        ),
        _table(
            "Sweeps",
            ("project", "sweep", "state", "runs", "began"),
            [
                (
                    f"{row['entity']}/{row['project_name']}",
                    row["name"],
                    row["state"],
                    row["runs"],
                    when(row["created_at"]),
                )
                for row in sweeps
            ],
        ),
        _table(
            "Asked for, and not here",
            ("operation", "what", "times", "client"),
            [(row["operation"], row["message"], row["count"], row["agent"]) for row in unknown],
        ),
    ]
    headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
    return HTMLResponse(f"{_HEAD}{''.join(tables)}</body></html>\n", headers=headers)


def _summary(text: str) -> str:
    """Show the figures of a summary that say something."""
    found = {key: value for key, value in loaded(text).items() if not key.startswith("_")}
    return json.dumps(found)[:300] if found else ""


def _table(title: str, heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>\n" for row in rows
    )
    return f"<h1>{escape(title)}</h1>\n<table><tr>{head}</tr>\n{body}</table>\n"


def _cell(value: Any) -> str:
    return "" if value is None else escape(for_html(str(value)))
