from __future__ import annotations

import threading
from pathlib import Path

import pytest

from metta_sandbox.image.host_cache import cache_folder, locked


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("a", "b") == tmp_path / "metta-sandbox" / "a" / "b"
    assert (tmp_path / "metta-sandbox" / "a" / "b").is_dir()


def test_who_has_to_wait_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    told = threading.Event()
    order: list[str] = []

    def tell(text: str) -> None:
        said.append(text)
        told.set()

    def second() -> None:
        with locked(tmp_path / "lock", tell, "another has it"):
            order.append("second")

    with locked(tmp_path / "lock", said.append, "never said"):
        waiting = threading.Thread(target=second)
        waiting.start()
        assert told.wait(10)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]
    assert said == ["another has it"]
