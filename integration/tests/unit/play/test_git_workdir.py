"""Working folders that are repositories."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.play.git_workdir import clone


def git(folder: Path, *words: str) -> str:
    own = ("-c", "user.email=a@example.com", "-c", "user.name=a", "-c", "init.defaultBranch=main")
    command = ["git", *own, "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    for branch, text in (("main", "one"), ("dev", "two")):
        if branch != "main":
            git(folder, "checkout", "-q", "-b", branch)
        (folder / "t.py").write_text(text)
        git(folder, "add", ".")
        git(folder, "commit", "-qm", text)
    git(folder, "tag", "v1", "main")
    git(folder, "checkout", "-q", "main")
    return folder


@pytest.mark.parametrize(
    ("ref", "text"), [(None, "one"), ("dev", "two"), ("v1", "one"), ("commit", "two")]
)
def test_what_is_asked_for_is_checked_out(
    repository: Path, tmp_path: Path, ref: str | None, text: str
) -> None:
    wanted = git(repository, "rev-parse", "dev") if ref == "commit" else ref
    clone(f"file://{repository}", wanted, tmp_path / "copy")

    assert (tmp_path / "copy" / "t.py").read_text() == text
    assert git(tmp_path / "copy", "remote") == "origin"


def test_what_cant_be_had_is_told_as_git_says_it_and_nothing_is_left(
    repository: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"none can't be cloned: .*does not (exist|appear)"):
        clone(str(tmp_path / "none"), None, tmp_path / "copy")
    with pytest.raises(InputError, match=r"has no branch, tag or commit nodev"):
        clone(str(repository), "nodev", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_credentials_in_an_address_are_neither_told_nor_left(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://me:planted@127.0.0.1:9/repository.git"
    with pytest.raises(InputError) as caught:
        clone(url, None, tmp_path / "none")
    assert "planted" not in str(caught.value)

    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.file://{repository}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", url)
    clone(url, None, tmp_path / "copy")
    assert "planted" not in (tmp_path / "copy" / ".git" / "config").read_text()


def test_an_address_is_no_option_and_runs_no_program(tmp_path: Path) -> None:
    for url in (f"--upload-pack=touch {tmp_path}/pwned", f"ext::sh -c 'touch {tmp_path}/pwned'"):
        with pytest.raises(InputError):
            clone(url, None, tmp_path / "copy")
    assert not (tmp_path / "pwned").exists()
