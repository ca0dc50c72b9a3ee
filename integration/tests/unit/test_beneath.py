"""What is opened beneath a folder, and what is refused with its name."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path, PurePath

import pytest

from metta_sandbox import beneath
from metta_sandbox.beneath import RefusedPathError
from metta_sandbox.matching_process import blocks

SECRET = "only for the caller"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(SECRET)
    folder = tmp_path / "root"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "plain").write_text("one\ntwo\n")
    return folder


def link(path: Path) -> None:
    path.symlink_to(path.parents[2] / "secret")


def bind(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # such names are short
    try:
        with closing(socket.socket(socket.AF_UNIX)) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


KINDS: dict[str, Callable[[Path], object]] = {
    "a symbolic link": link,
    "a pipe": os.mkfifo,
    "no plain file": bind,
    "a folder": Path.mkdir,
    "a file with several names": lambda path: os.link(path.parents[2] / "secret", path),
}


@pytest.mark.parametrize("kind", KINDS)
def test_only_plain_files_are_read(root: Path, kind: str) -> None:
    path = root / "a" / "struck"
    KINDS[kind](path)

    for read in (beneath.open_file, beneath.read_bytes):
        with pytest.raises(RefusedPathError) as refused:
            read(root, path)
        assert refused.value.strerror == kind
    assert beneath.size_of(root, path) is None
    with pytest.raises(OSError, match=r"."):
        beneath.overwrite(root, path, b"x")
    with pytest.raises(FileExistsError):
        beneath.create(root, path, b"x")
    assert (root.parent / "secret").read_text() == SECRET


def test_no_folder_on_the_way_may_be_a_link(root: Path) -> None:
    (root / "b").symlink_to(root / "a")
    for name in ("b/plain", "b/../a/plain"):
        with pytest.raises(OSError, match=r"Not a directory|not beneath"):
            beneath.read_bytes(root, root / name)
    with pytest.raises(NotADirectoryError):
        beneath.create(root, root / "b" / "new")
    assert beneath.find(root, "*/plain") == [root / "a" / "plain"]


@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "a/../../secret", "a\0b", "\ud800"])
def test_no_path_leads_out(root: Path, path: str) -> None:
    for each in (PurePath(path), root / path):
        with pytest.raises(RefusedPathError, match="not beneath its folder"):
            beneath.read_bytes(root, each)
        assert beneath.find(root, "*", each) == []


def test_plain_files_are_read_as_ever(root: Path) -> None:
    path = root / "a" / "plain"
    assert beneath.read_bytes(root, path) == b"one\ntwo\n"
    assert beneath.read_bytes(root, PurePath("a", "plain")) == b"one\ntwo\n"
    assert beneath.read_end(root, path, 4) == b"two\n"
    beneath.overwrite(root, path, b"new")
    assert path.read_text() == "new"
    assert beneath.size_of(root, path) == 3
    beneath.unlink(root, path)
    beneath.unlink(root, path)
    assert not path.exists()


def test_files_are_replaced_and_added_to_without_following(root: Path) -> None:
    link(root / "a" / "struck")
    with pytest.raises(RefusedPathError):
        beneath.append(root, root / "a" / "struck", b"x")
    beneath.replace(root, root / "a" / "struck", b"one")
    beneath.append(root, root / "a" / "struck", b" two")
    beneath.append(root, root / "a" / "new", b"three")

    assert {each.name: each.read_text() for each in (root / "a").iterdir()} == {
        "plain": "one\ntwo\n",
        "struck": "one two",
        "new": "three",
    }
    assert (root.parent / "secret").read_text() == SECRET


def test_a_file_without_an_end_is_not_read_whole(root: Path) -> None:
    path = root / "a" / "huge"
    with path.open("wb") as file:
        file.truncate(5 << 30)
    with pytest.raises(RefusedPathError, match="of 5368709120 bytes"):
        beneath.read_bytes(root, path)
    assert beneath.read_end(root, path, 10) == bytes(10)
    with beneath.open_file(root, path, most=None) as file, pytest.raises(OSError, match="a line"):
        list(blocks(file))


def test_files_are_found_by_patterns(root: Path) -> None:
    for name in ("a/b/c/x.pt", "a/x.pt", "a/.x.pt", "x.pt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()

    def names(*asked: str) -> list[str]:
        pattern, *within = asked
        found = beneath.find(root, pattern, *map(PurePath, within))
        return [str(path.relative_to(root)) for path in found]

    assert names("*.pt") == ["x.pt"]
    assert names("a/*.pt") == ["a/.x.pt", "a/x.pt"]
    assert names("**/x.pt") == ["a/b/c/x.pt", "a/x.pt", "x.pt"]
    assert names("*/x.pt", "a/b") == ["a/b/c/x.pt"]
    assert names("*", "gone") == []


def test_a_search_of_too_much_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beneath, "_NAMES", 3)
    for number in range(4):
        (root / f"{number}").touch()
    with pytest.raises(RefusedPathError, match="more than 3 names"):
        beneath.find(root, "**/x")
