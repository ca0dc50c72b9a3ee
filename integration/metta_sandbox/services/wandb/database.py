"""The one SQLite file below the stand-in, for several threads at once."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from metta_sandbox.errors import MachineError

#: The file's name in a data folder.
STATE = "wandb.sqlite3"
#: The folder of the contents of files beside it.
FILES = "files"
#: A row as a dictionary: its columns' names to their values.
Row: TypeAlias = dict[str, Any]

#: Times are seconds since 1970. Documents are JSON, as the client sent them.
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS projects (
    id INTEGER PRIMARY KEY, entity TEXT NOT NULL, name TEXT NOT NULL, description TEXT,
    access TEXT, views TEXT, repo TEXT, created_at REAL NOT NULL, UNIQUE (entity, name));
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, project INTEGER NOT NULL REFERENCES projects, name TEXT NOT NULL,
    display_name TEXT, state TEXT NOT NULL DEFAULT 'running', config TEXT NOT NULL DEFAULT '{}',
    summary TEXT NOT NULL DEFAULT '{}', tags TEXT NOT NULL DEFAULT '[]', notes TEXT,
    description TEXT, run_group TEXT, job_type TEXT, commit_hash TEXT, host TEXT, program TEXT,
    repo TEXT, sweep INTEGER REFERENCES sweeps, agent INTEGER REFERENCES agents,
    issued INTEGER NOT NULL DEFAULT 0, stopped INTEGER NOT NULL DEFAULT 0, exit_code INTEGER,
    user TEXT, created_at REAL NOT NULL, updated_at REAL NOT NULL, heartbeat_at REAL,
    deleted INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX IF NOT EXISTS runs_by_name ON runs (project, name) WHERE NOT deleted;
CREATE INDEX IF NOT EXISTS runs_by_sweep ON runs (sweep);
CREATE TABLE IF NOT EXISTS lines (
    run INTEGER NOT NULL REFERENCES runs, stream TEXT NOT NULL, line INTEGER NOT NULL,
    writer INTEGER NOT NULL REFERENCES writers, at REAL NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (run, stream, line, writer)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    id INTEGER PRIMARY KEY, owner TEXT NOT NULL, owner_id INTEGER NOT NULL, name TEXT NOT NULL,
    sha256 TEXT, md5 TEXT, size INTEGER, mimetype TEXT, updated_at REAL NOT NULL,
    UNIQUE (owner, owner_id, name));
CREATE INDEX IF NOT EXISTS files_by_md5 ON files (md5);
CREATE TABLE IF NOT EXISTS sweeps (
    id INTEGER PRIMARY KEY, project INTEGER NOT NULL REFERENCES projects, name TEXT NOT NULL,
    display_name TEXT, config TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'PENDING',
    description TEXT, controller TEXT, scheduler TEXT, user TEXT, created_at REAL NOT NULL,
    updated_at REAL NOT NULL, heartbeat_at REAL, UNIQUE (project, name));
CREATE TABLE IF NOT EXISTS agents (
    id INTEGER PRIMARY KEY, sweep INTEGER NOT NULL REFERENCES sweeps, host TEXT,
    writer INTEGER REFERENCES writers, created_at REAL NOT NULL, heartbeat_at REAL,
    state TEXT NOT NULL DEFAULT 'RUNNING');
CREATE TABLE IF NOT EXISTS collections (
    id INTEGER PRIMARY KEY, project INTEGER NOT NULL REFERENCES projects, type TEXT NOT NULL,
    name TEXT NOT NULL, description TEXT, client_id TEXT, created_at REAL NOT NULL,
    UNIQUE (project, name));
CREATE TABLE IF NOT EXISTS artifacts (
    id INTEGER PRIMARY KEY, collection INTEGER NOT NULL REFERENCES collections, version INTEGER,
    state TEXT NOT NULL DEFAULT 'PENDING', digest TEXT NOT NULL, digest_algorithm TEXT,
    description TEXT, metadata TEXT, tags TEXT NOT NULL DEFAULT '[]', size INTEGER,
    run INTEGER REFERENCES runs, client_id TEXT, wanted_aliases TEXT NOT NULL DEFAULT '[]',
    history_step INTEGER, created_at REAL NOT NULL, updated_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS manifests (
    id INTEGER PRIMARY KEY, artifact INTEGER NOT NULL REFERENCES artifacts, name TEXT NOT NULL,
    digest TEXT, type TEXT);
CREATE TABLE IF NOT EXISTS aliases (
    collection INTEGER NOT NULL REFERENCES collections, alias TEXT NOT NULL,
    artifact INTEGER NOT NULL REFERENCES artifacts, PRIMARY KEY (collection, alias));
CREATE TABLE IF NOT EXISTS uses (
    run INTEGER NOT NULL REFERENCES runs, artifact INTEGER NOT NULL REFERENCES artifacts,
    used_as TEXT, PRIMARY KEY (run, artifact));
CREATE TABLE IF NOT EXISTS alerts (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs, at REAL NOT NULL,
    title TEXT NOT NULL, text TEXT NOT NULL, severity TEXT);
CREATE TABLE IF NOT EXISTS writers (
    id INTEGER PRIMARY KEY, node TEXT NOT NULL, address TEXT NOT NULL, agent TEXT NOT NULL,
    client TEXT NOT NULL, first_at REAL NOT NULL, UNIQUE (node, address, agent, client));
CREATE TABLE IF NOT EXISTS writes (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, writer INTEGER NOT NULL REFERENCES writers,
    operation TEXT NOT NULL, run INTEGER REFERENCES runs, detail TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS writes_by_run ON writes (run);
CREATE TABLE IF NOT EXISTS unknown (
    operation TEXT NOT NULL, message TEXT NOT NULL, agent TEXT NOT NULL, first_at REAL NOT NULL,
    count INTEGER NOT NULL, PRIMARY KEY (operation, message, agent));
"""


class Database:
    """One connection, which threads take turns on. Readers of other processes are not kept out.

    Args:
        path: The SQLite file; made when missing, unless it is only read.
        read_only: Whether nothing may be written.

    Raises:
        MachineError: The file can't be opened, or is no SQLite file.

    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._lock = threading.RLock()
        mode = "?mode=ro" if read_only else ""
        try:
            self._db = sqlite3.connect(
                f"{path.absolute().as_uri()}{mode}",
                uri=True,
                timeout=10,
                isolation_level=None,
                check_same_thread=False,
            )
            self._db.row_factory = lambda cursor, values: dict(
                zip((column[0] for column in cursor.description), values, strict=True)
            )
            if not read_only:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
                # At once: one by one, each would wait for the disk.
                self._db.executescript(f"BEGIN;{_TABLES}COMMIT;")
        except sqlite3.Error as error:
            raise MachineError(
                f"cannot use the state file {path}: {error}", "choose another --data folder"
            ) from error

    def close(self) -> None:
        """Let go of the file, once nobody is at it. Who still wants something gets an error."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all that is within at once, or, if it raises, nothing of it."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def rows(self, query: str, *values: Any) -> list[Row]:
        """Read all rows of a query."""
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def row(self, query: str, *values: Any) -> Row | None:
        """Read the first row of a query; None if there is none."""
        with self._lock:
            found: Row | None = self._db.execute(query, values).fetchone()
        return found

    def value(self, query: str, *values: Any) -> Any:
        """Read the first column of a query's first row; None if there is none."""
        found = self.row(query, *values)
        return None if found is None else next(iter(found.values()))

    def write(self, statement: str, *values: Any) -> int:
        """Do a statement; give the number of the row that it inserted."""
        with self._lock:
            return self._db.execute(statement, values).lastrowid or 0

    def insert(self, table: str, **columns: Any) -> int:
        """Insert a row, and give its number."""
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - ours
        return self.write(statement, *columns.values())

    def update(self, table: str, number: int, **columns: Any) -> None:
        """Change columns of the row of this number."""
        if columns:
            changes = ", ".join(f"{name} = ?" for name in columns)
            statement = f"UPDATE {table} SET {changes} WHERE id = ?"  # noqa: S608 - ours
            self.write(statement, *columns.values(), number)


def now() -> float:
    """Give the time as the tables hold it."""
    return time.time()
