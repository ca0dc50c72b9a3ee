"""The state file: counting, idempotency, and what outlives a restart."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from metta_sandbox.api.store import Store
from metta_sandbox.errors import MachineError

SWEEP = {"project": "p", "entity": "e", "wandb_sweep_id": "w"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "state.sqlite3")
    yield store
    store.close()


def test_a_second_registration_creates_nothing_and_keeps_the_id(store: Store) -> None:
    first = store.create_sweep("s", **SWEEP)
    second = store.create_sweep("s", **{**SWEEP, "wandb_sweep_id": "other"})

    assert first[0] is True
    assert second == (False, first[1])
    assert store.wandb_sweep_id("s") == "w"


def test_runs_are_counted_from_one_for_each_sweep(store: Store) -> None:
    for name in ("a", "b"):
        store.create_sweep(name, **SWEEP)

    assert [store.next_run("a") for _ in range(3)] == ["a.r.1", "a.r.2", "a.r.3"]
    assert store.next_run("b") == "b.r.1"
    assert store.next_run("nobody") is None


def test_a_key_gets_one_name_and_only_in_its_own_sweep(store: Store) -> None:
    for name in ("a", "b"):
        store.create_sweep(name, **SWEEP)

    assert [store.next_run("a", "k") for _ in range(3)] == ["a.r.1"] * 3
    assert store.next_run("a", "l") == "a.r.2"
    assert store.next_run("b", "k") == "b.r.1"


def test_a_key_used_before_the_sweep_exists_is_not_burnt(store: Store) -> None:
    assert store.next_run("a", "k") is None
    store.create_sweep("a", **SWEEP)

    assert store.next_run("a", "k") == "a.r.1"


def test_threads_of_one_process_share_the_count(store: Store) -> None:
    store.create_sweep("s", **SWEEP)
    names: list[str | None] = []
    threads = [
        threading.Thread(target=lambda: names.extend(store.next_run("s") for _ in range(25)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {*names} == {f"s.r.{n}" for n in range(1, 201)}


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    store = Store(path)
    store.create_sweep("s", **SWEEP)
    assert store.next_run("s", "k") == "s.r.1"
    policy = store.add("policies", {"name": "p"})
    store.close()

    store = Store(path)
    assert store.next_run("s", "k") == "s.r.1"
    assert store.next_run("s") == "s.r.2"
    assert store.record("policies", policy) == {"name": "p", "id": policy}
    store.close()


def test_records_keep_their_order_their_parent_and_their_own_id(store: Store) -> None:
    ids = [store.add("epochs", {"n": n, "id": "sender's"}, parent="run") for n in range(3)]

    assert [record["id"] for record in store.records("epochs", "run")] == ids
    assert [record["n"] for record in store.records("epochs", "run")] == [0, 1, 2]
    assert store.records("epochs", "other run") == []
    assert store.record("epochs", ids[0], "other run") is None


def test_a_record_sent_twice_with_one_key_is_kept_once(store: Store) -> None:
    first = store.add("episodes", {"n": 1}, key="k")

    assert store.add("episodes", {"n": 1}, key="k") == first
    assert store.add("policies", {"n": 1}, key="k") != first
    assert len(store.records("episodes")) == 1


def test_a_failed_write_leaves_the_store_usable(store: Store) -> None:
    store.create_sweep("s", **SWEEP)
    store._db.execute("PRAGMA query_only = ON")
    with pytest.raises(sqlite3.OperationalError):
        store.next_run("s")
    store._db.execute("PRAGMA query_only = OFF")

    assert store.next_run("s") == "s.r.1"


def test_a_second_user_of_the_file_is_refused(tmp_path: Path, store: Store) -> None:
    assert store.wandb_sweep_id("s") is None
    with pytest.raises(MachineError, match=r"state\.sqlite3: database is locked"):
        Store(tmp_path / "state.sqlite3")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    path.write_text("this is not a database at all" * 100)
    with pytest.raises(MachineError, match=r"state\.sqlite3: file is not a database"):
        Store(path)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"absent/state\.sqlite3: unable to open"):
        Store(tmp_path / "absent" / "state.sqlite3")
