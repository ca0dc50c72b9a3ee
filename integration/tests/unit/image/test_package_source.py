"""Packages of the user's own indexes: listed and fetched once, from the cache, or not at all."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from metta_sandbox.errors import MachineError
from metta_sandbox.image.package_source import LackingError, PackageSource
from metta_sandbox.image.pip_client import is_cuda

#: Speaks as the process that asks pip does, and notes what it was asked.
_FAKE = """
import hashlib, json, pathlib, sys
content = b"wheel"
digest = hashlib.sha256(content).hexdigest()
for line in sys.stdin:
    asked = json.loads(line)
    with open(sys.argv[1], "a") as notes:
        notes.write(line)
    told = {"listed": [], "said": []}
    if asked.get("list") == "mine":
        told["listed"] = [{"file": "mine-1-py3-none-any.whl", "sha256": digest}]
    elif asked.get("list") == "offline":
        told["said"] = ["Could not fetch URL https://a.b/simple/offline/: no name"]
    elif asked.get("list") == "end":
        sys.exit(1)
    elif "fetch" in asked:
        place = pathlib.Path(asked["folder"], digest)
        place.mkdir()
        (place / asked["file"]).write_bytes(content)
        told = {"sha256": digest, "bytes": len(content)}
    print(json.dumps({"id": asked["id"], **told}), flush=True)
"""


@pytest.fixture
def source(tmp_path: Path) -> Iterator[PackageSource]:
    command = [sys.executable, "-c", _FAKE, str(tmp_path / "asked")]
    (tmp_path / "cache").mkdir()
    source = PackageSource(lambda: command, tmp_path / "cache")
    yield source
    source.close()


def asked(folder: Path) -> list[dict[str, object]]:
    path = folder / "asked"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_nothing_is_started_before_it_is_asked(source: PackageSource, tmp_path: Path) -> None:
    source.close()
    assert asked(tmp_path) == []


def test_all_who_ask_have_one_answer(source: PackageSource, tmp_path: Path) -> None:
    together = threading.Barrier(6)

    def fetch(_: int) -> bytes:
        together.wait()
        return source.fetch("mine", "mine-1-py3-none-any.whl").path.read_bytes()

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(fetch, range(6))) == {b"wheel"}
    assert len(asked(tmp_path)) == 2


def test_a_file_that_is_in_the_cache_is_not_fetched(source: PackageSource, tmp_path: Path) -> None:
    first = source.fetch("mine", "mine-1-py3-none-any.whl")
    command = [sys.executable, "-c", _FAKE, str(tmp_path / "asked")]
    later = PackageSource(lambda: command, tmp_path / "cache")
    second = later.fetch("mine", "mine-1-py3-none-any.whl")
    later.close()

    assert (first.fresh, second.fresh) == (True, False)
    assert first.path == second.path


@pytest.mark.parametrize(
    ("name", "file", "why"),
    [
        ("gone", None, "no index has it"),
        ("offline", None, "https://a.b gives no answer: no name"),
        ("mine", "mine-2-py3-none-any.whl", "no index lists it"),
        ("mine", "mine-1-py3-none-any.whl.metadata", "no index lists it"),
        ("nvidia-cublas-cu12", None, "CUDA"),
    ],
)
def test_what_cannot_be_had_is_told(
    source: PackageSource, name: str, file: str | None, why: str
) -> None:
    with pytest.raises(LackingError, match=why):
        source.fetch(name, file) if file else source.listed(name)


def test_what_failed_is_asked_again(source: PackageSource, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(LackingError):
            source.listed("gone")
    assert len(asked(tmp_path)) == 2


def test_a_process_that_ends_is_told_and_not_waited_for(source: PackageSource) -> None:
    with pytest.raises(MachineError, match="has ended"):
        source.listed("end")
    with pytest.raises(MachineError, match="has ended"):
        source.listed("mine")


def test_a_pip_that_cannot_be_asked_says_what_mends_it(tmp_path: Path) -> None:
    told = {"id": 0, "problem": "pip 20.0 can't be asked", "mends": "upgrade pip"}
    command = [sys.executable, "-c", f"print({json.dumps(told)!r})"]
    source = PackageSource(lambda: command, tmp_path)
    with pytest.raises(MachineError, match=r"pip 20.0 can't be asked\n  -> upgrade pip"):
        source.listed("mine")
    source.close()


@pytest.mark.parametrize("name", ["nvidia-cublas-cu12", "triton", "pytorch-triton", "cuda-toolkit"])
def test_cudas_own_are_known_by_name(name: str) -> None:
    assert is_cuda(name)


@pytest.mark.parametrize("name", ["nvidia-ml-py", "torch", "tritonclient", "cudatext"])
def test_others_are_not(name: str) -> None:
    assert not is_cuda(name)
