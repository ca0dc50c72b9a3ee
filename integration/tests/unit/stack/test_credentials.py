"""The caller's credentials: found, copied for nobody but the nodes' user, removed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metta_sandbox.errors import MachineError
from metta_sandbox.node.agent.load import slowed
from metta_sandbox.stack import credentials
from metta_sandbox.stack.credentials import Credential, find_credentials, tokens_of


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    (home / ".metta").mkdir(parents=True)
    (home / ".metta" / "observatory_tokens.yaml").write_text("http://x: secret\n")
    (home / ".ssh").mkdir(mode=0o700)
    (home / ".ssh" / "id").write_text("secret")
    (home / ".ssh" / "link").symlink_to("id")
    (home / ".netrc").write_text("secret")
    (home / ".netrc").chmod(0o600)
    (home / ".bashrc").write_text("")
    return home


def test_only_those_that_exist_are_found(home: Path) -> None:
    assert [each.name for each in find_credentials(home)] == [".netrc", ".metta", ".ssh"]
    assert find_credentials(home / "nobody") == ()


def test_the_token_is_found_within(home: Path) -> None:
    found = find_credentials(home)
    assert tokens_of(found) == home / ".metta" / "observatory_tokens.yaml"
    assert tokens_of([each for each in found if each.name != ".metta"]) is None


def test_copies_can_be_read_by_their_owner_alone_and_written_by_none(
    home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run" / "scenario"
    copies = credentials.stage_credentials(find_credentials(home), folder, None)
    assert copies[0] == Credential(".netrc", folder / ".netrc")
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            assert path.stat().st_mode & 0o777 == (0o500 if path.is_dir() else 0o400)
    assert (folder / ".ssh" / "link").read_text() == "secret"
    assert (home / ".netrc").stat().st_mode & 0o777 == 0o600, "the caller's own are left alone"


def test_sockets_are_left_out(home: Path, tmp_path: Path) -> None:
    os.mkfifo(home / ".ssh" / "control")
    folder = tmp_path / "run" / "copies"
    credentials.stage_credentials(find_credentials(home), folder, None)
    assert sorted(path.name for path in (folder / ".ssh").iterdir()) == ["id", "link"]


def test_what_is_too_large_for_memory_is_refused(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "_LARGEST", 3)
    with pytest.raises(MachineError, match=r"~/\.metta holds"):
        credentials.stage_credentials(find_credentials(home), tmp_path / "run" / "copies", None)


def test_copies_are_removed_though_nobody_may_write(home: Path) -> None:
    run = f"test-{os.getpid()}"
    folder = credentials.memory_folder(run, "one")
    try:
        credentials.stage_credentials(find_credentials(home), folder, None)
        assert credentials.memory_root(run).parent.stat().st_mode & 0o077 == 0
    finally:
        credentials.remove_copies(run)
    assert not credentials.memory_root(run).exists()
    credentials.remove_copies(run)


def test_a_folder_that_somebody_else_has_made_is_not_used(home: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "memory").symlink_to("elsewhere")
    with pytest.raises(MachineError, match="belongs to somebody else"):
        credentials.stage_credentials(find_credentials(home), tmp_path / "memory/run/one", None)
    assert not list((tmp_path / "elsewhere").iterdir())


_STAGES = """
import sys, time
from pathlib import Path
from metta_sandbox.stack import credentials
run, home = sys.argv[1:]
credentials.watch_copies(run)
credentials.watch_copies(run)
copies = credentials.find_credentials(Path(home))
credentials.stage_credentials(copies, credentials.memory_folder(run, "one"), None)
print("staged", flush=True)
time.sleep(600)
"""


def test_copies_go_with_the_process_that_made_them(home: Path) -> None:
    run = f"test-killed-{os.getpid()}"
    root = credentials.memory_root(run)
    command = [sys.executable, "-c", _STAGES, run, str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as maker:
        try:
            assert maker.stdout
            assert maker.stdout.readline() == b"staged\n"
            assert (root / "one" / ".netrc").read_text() == "secret"
            maker.kill()
            deadline = time.monotonic() + slowed(5)
            while root.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            assert not root.exists()
        finally:
            maker.kill()
            credentials.remove_copies(run)


def test_whoever_removes_copies_at_the_end_ends_with_them(home: Path) -> None:
    run = f"test-watched-{os.getpid()}"
    credentials.watch_copies(run)
    watcher = credentials._watchers[run]
    folder = credentials.memory_folder(run, "one")
    credentials.stage_credentials(find_credentials(home), folder, None)
    credentials.remove_copies(run, "one")
    assert watcher.poll() is None
    credentials.remove_copies(run)
    assert watcher.poll() == 0
    assert not credentials.memory_root(run).exists()
