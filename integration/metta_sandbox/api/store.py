"""What the control plane remembers: one SQLite file that outlives a restart."""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from metta_sandbox.errors import MachineError

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS sweeps (
        name TEXT PRIMARY KEY, id TEXT NOT NULL, project TEXT NOT NULL, entity TEXT NOT NULL,
        wandb_sweep_id TEXT NOT NULL, runs INTEGER NOT NULL DEFAULT 0)""",
    """CREATE TABLE IF NOT EXISTS records (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, parent TEXT NOT NULL, body TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS given (
        scope TEXT NOT NULL, key TEXT NOT NULL, answer TEXT NOT NULL,
        PRIMARY KEY (scope, key))""",
)


class Store:
    """The operations of the control plane, each of them atomic.

    The file belongs to one process at a time; a second one is told so.

    Args:
        path: The SQLite file; made when missing.

    Raises:
        MachineError: The file can't be opened, is in use, or is no SQLite file.

    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(
                path, timeout=1, isolation_level=None, check_same_thread=False
            )
            self._prepare()
        except sqlite3.Error as error:
            raise MachineError(
                f"cannot use the state file {path}: {error}",
                "stop the process that uses it, or choose another --data folder",
            ) from error

    def _prepare(self) -> None:
        try:
            # Exclusive before WAL: then the log needs no shared memory, which bind mounts may lack.
            for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=NORMAL"):
                self._db.execute(f"PRAGMA {pragma}")
            with self._transaction():
                for statement in _SCHEMA:
                    self._db.execute(statement)
        except sqlite3.Error:
            self._db.close()
            raise

    def close(self) -> None:
        """Write everything into the file and let go of it."""
        self._db.close()

    def wandb_sweep_id(self, name: str) -> str | None:
        """Return the identifier that a sweep was registered with; None if there is no sweep."""
        with self._lock:
            row = self._db.execute(
                "SELECT wandb_sweep_id FROM sweeps WHERE name = ?", (name,)
            ).fetchone()
        return str(row[0]) if row else None

    def create_sweep(
        self, name: str, *, project: str, entity: str, wandb_sweep_id: str
    ) -> tuple[bool, str]:
        """Register a sweep, unless there is one of that name.

        Returns:
            Whether it is new, and its UUID.

        """
        with self._transaction():
            cursor = self._db.execute(
                "INSERT INTO sweeps (name, id, project, entity, wandb_sweep_id)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
                (name, str(uuid.uuid4()), project, entity, wandb_sweep_id),
            )
            row = self._db.execute("SELECT id FROM sweeps WHERE name = ?", (name,)).fetchone()
        return cursor.rowcount == 1, row[0]

    def next_run(self, sweep: str, key: str | None = None) -> str | None:
        """Count a sweep's runs up by one and name the new one.

        Args:
            sweep: The sweep's name.
            key: An idempotency key; one that this sweep has seen gets the name it got then.

        Returns:
            ``<sweep>.r.<n>`` with n from 1, or None if there is no such sweep.

        """

        def count() -> str | None:
            cursor = self._db.execute("UPDATE sweeps SET runs = runs + 1 WHERE name = ?", (sweep,))
            if not cursor.rowcount:
                return None
            row = self._db.execute("SELECT runs FROM sweeps WHERE name = ?", (sweep,)).fetchone()
            return f"{sweep}.r.{row[0]}"

        return self._once(f"runs/{sweep}", key, count)

    def add(
        self,
        kind: str,
        body: Mapping[str, Any],
        parent: str = "",
        key: str | None = None,
        record_id: str | None = None,
    ) -> str:
        """Store a record.

        Args:
            kind: What it is, such as ``policies``.
            body: What was sent; JSON.
            parent: The record it belongs to, if any.
            key: An idempotency key; one seen with this kind and parent adds nothing.
            record_id: Its id; a UUID by default. A record that has it already is replaced.

        Returns:
            Its id.

        """

        def insert() -> str:
            new = record_id or str(uuid.uuid4())
            self._db.execute(
                "INSERT OR REPLACE INTO records (id, kind, parent, body) VALUES (?, ?, ?, ?)",
                (new, kind, parent, json.dumps(body)),
            )
            return new

        added = self._once(f"{kind}/{parent}", key, insert)
        assert added is not None
        return added

    def change(
        self, kind: str, record_id: str, become: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any] | None:
        """Change a record. Returns it as it is now, with its ``id``; None if there is none."""
        with self._transaction():
            row = self._db.execute(
                "SELECT body FROM records WHERE id = ? AND kind = ?", (record_id, kind)
            ).fetchone()
            if row is None:
                return None
            body = become(json.loads(row[0]))
            self._db.execute(
                "UPDATE records SET body = ? WHERE id = ?", (json.dumps(body), record_id)
            )
        return {**body, "id": record_id}

    def records(self, kind: str, parent: str = "") -> list[dict[str, Any]]:
        """List what was kept, oldest first: each body with its ``id``."""
        with self._lock:
            rows = self._db.execute(
                "SELECT id, body FROM records WHERE kind = ? AND parent = ? ORDER BY rowid",
                (kind, parent),
            ).fetchall()
        return [{**json.loads(body), "id": record_id} for record_id, body in rows]

    def record(self, kind: str, record_id: str, parent: str = "") -> dict[str, Any] | None:
        """Find one record: its body with its ``id``."""
        with self._lock:
            row = self._db.execute(
                "SELECT body FROM records WHERE id = ? AND kind = ? AND parent = ?",
                (record_id, kind, parent),
            ).fetchone()
        return {**json.loads(row[0]), "id": record_id} if row else None

    def _once(self, scope: str, key: str | None, act: Callable[[], str | None]) -> str | None:
        """Act, or repeat the answer that this key got in this scope before."""
        with self._transaction():
            if key:
                row = self._db.execute(
                    "SELECT answer FROM given WHERE scope = ? AND key = ?", (scope, key)
                ).fetchone()
                if row:
                    return str(row[0])
            answer = act()
            if key and answer is not None:
                self._db.execute("INSERT INTO given VALUES (?, ?, ?)", (scope, key, answer))
            return answer

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # on a full disk SQLite rolls back by itself
                    self._db.execute("ROLLBACK")
                raise
