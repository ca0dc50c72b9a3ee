"""Questions in SQL about what the control plane keeps.

Observatory asks PostgreSQL; here a copy in SQLite is asked, which knows less of the language.
Annotations are evaluated here, since FastAPI reads those of functions made inside functions.
"""

import json
import sqlite3
import time
from contextlib import closing
from typing import Any

from fastapi import FastAPI, HTTPException

from metta_sandbox.api.common import MAY_BE_MISSING, Kept, Named, Refusals
from metta_sandbox.api.store import Store

#: Tables, and the kinds of records that are their rows.
_TABLES = {
    "policies": "policies",
    "policy_versions": "policy-versions",
    "episodes": "episodes",
    "eval_tasks": "tasks",
    "job_requests": "jobs",
    "training_runs": "training-runs",
}
_MOST_ROWS = 1000
#: Seconds that a question may take.
_LONGEST = 20.0
_REFUSALS: Refusals = {
    400: {"description": "It is no question that can be answered."},
    403: {"description": "It would change something."},
}


class QuestionIn(Kept):
    """A question."""

    query: Named


def add_sql(app: FastAPI, store: Store) -> None:
    """Give an application the routes of SQL."""

    @app.post("/sql/query", responses=_REFUSALS)
    async def query(body: QuestionIn) -> dict[str, Any]:
        """Give `{"columns", "rows", "row_count"}`, 1000 rows at most; SQLite's dialect."""
        with closing(_copy(store)) as base:
            base.set_authorizer(_only_reads)
            end = time.monotonic() + _LONGEST
            base.set_progress_handler(lambda: time.monotonic() > end, 10_000)
            try:
                cursor = base.execute(body.query)
                rows = [list(row) for row in cursor.fetchmany(_MOST_ROWS)]
            except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
                refused = "not authorized" in str(error) or "prohibited" in str(error)
                raise HTTPException(403 if refused else 400, str(error)) from None
        columns = [each[0] for each in cursor.description or ()]
        plain = [[_plain(value) for value in row] for row in rows]
        return {"columns": columns, "rows": plain, "row_count": len(rows)}

    @app.get("/sql/tables")
    async def tables() -> list[dict[str, Any]]:
        """List `{"table_name", "column_count", "row_count"}` of each table."""
        return [
            {
                "table_name": name,
                "column_count": len(_columns(store, name)),
                "row_count": len(store.records(kind)),
            }
            for name, kind in _TABLES.items()
        ]

    @app.get("/sql/tables/{table_name}/schema", responses=MAY_BE_MISSING)
    async def schema(table_name: str) -> dict[str, Any]:
        """Give `{"table_name", "columns"}`."""
        if table_name not in _TABLES:
            raise HTTPException(404, f"there is no table {table_name!r}")
        about = {"type": "text", "nullable": True, "default": None, "max_length": None}
        columns = [{"name": name, **about} for name in _columns(store, table_name)]
        return {"table_name": table_name, "columns": columns}


def _columns(store: Store, table: str) -> list[str]:
    """Name a table's columns: all keys that its records have."""
    rows = store.records(_TABLES[table])
    # SQLite takes no two names that differ by their case alone, and a thousand at most.
    names = {key.lower(): key for row in rows for key in row if "\0" not in key}
    return sorted({**names, "id": "id"}.values())[:1000]


def _copy(store: Store) -> sqlite3.Connection:
    """Make a database in memory of all that is kept."""
    base = sqlite3.connect(":memory:")
    for table, kind in _TABLES.items():
        columns = _columns(store, table)
        names = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}"' for name in columns)
        base.execute(f"CREATE TABLE {table} ({names})")
        marks = ", ".join("?" * len(columns))
        rows = ([_cell(row.get(name)) for name in columns] for row in store.records(kind))
        base.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608 - our names
    return base


def _cell(value: Any) -> Any:
    if isinstance(value, (dict, list)) or (isinstance(value, int) and abs(value) >= 2**63):
        return json.dumps(value)
    return value


def _plain(value: Any) -> Any:
    """Give a value as JSON can say it."""
    if isinstance(value, bytes):
        return value.hex()
    return None if isinstance(value, float) and value in {float("inf"), -float("inf")} else value


def _only_reads(action: int, *_: Any) -> int:
    allowed = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}
    allowed.add(sqlite3.SQLITE_RECURSIVE)
    return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY
