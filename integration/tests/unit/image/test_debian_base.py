from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from metta_sandbox.errors import MachineError
from metta_sandbox.image import debian_base
from metta_sandbox.image.debian_base import DebianBase, make_base, parse_sources

BASE = DebianBase("amd64")
TARGETS = (
    "http://mirror/debian/\tbookworm\tmain\n"
    "http://mirror/debian/\tbookworm\tmain\n"
    "http://mirror/debian/\tbookworm\tcontrib\n"
    "http://mirror/security/\tbookworm-security\tmain\n"
    "https://other/vendor\tnodistro\tmain\n"
)


def test_the_tag_says_what_is_inside() -> None:
    assert BASE.tag.startswith("metta-sandbox-base:bookworm-")
    assert BASE.tag != replace(BASE, packages=("python3",)).tag
    assert BASE.tag != DebianBase("arm64").tag
    assert BASE.tag == replace(BASE, packages=tuple(reversed(BASE.packages))).tag


def test_the_call_of_mmdebstrap() -> None:
    option = 'Acquire::http::Proxy "http://user:secret@proxy:3128"'
    command = BASE.command(Path("/x/root.tar"), ["deb http://m bookworm main"], [option])
    assert command[0] == "mmdebstrap"
    assert command[-3:] == ["bookworm", "/x/root.tar", "deb http://m bookworm main"]
    assert "--architectures=amd64" in command
    assert any("python3-venv" in part for part in command if part.startswith("--include="))
    assert f"--aptopt={option}" in command
    hooks = [part for part in command if part.startswith("--customize-hook=")]
    assert len(hooks) == 1
    assert "99mmdebstrap" in hooks[0]


def test_the_hosts_own_mirrors_of_the_release_are_taken() -> None:
    assert parse_sources(TARGETS, "bookworm", Path("/k.gpg")) == [
        "deb [signed-by=/k.gpg] http://mirror/debian/ bookworm main",
        "deb [signed-by=/k.gpg] http://mirror/security/ bookworm-security main",
    ]
    assert parse_sources(TARGETS, "bookworm", None)[0] == "deb http://mirror/debian/ bookworm main"


def test_a_host_of_another_release_has_no_mirror_of_ours() -> None:
    assert parse_sources("http://archive.ubuntu\tnoble\tmain\n", "bookworm", None) == []
    assert parse_sources("http://m\tbookworm-security\tmain\n", "bookworm", None) == []


def test_without_mmdebstrap_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MachineError, match="apt-get install -y mmdebstrap"):
        make_base(None, BASE)  # type: ignore[arg-type]


def test_on_another_distribution_debians_keys_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("mmdebstrap", "apt-get"):
        (tmp_path / name).write_text("#!/bin/sh\nprintf 'http://archive\\tnoble\\tmain\\n'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(debian_base, "_KEYRING", tmp_path / "none.gpg")
    with pytest.raises(MachineError, match="debian-archive-keyring"):
        make_base(None, BASE)  # type: ignore[arg-type]


def test_a_failed_bootstrap_tells_its_last_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "mmdebstrap"
    script.write_text(
        "#!/bin/sh\necho 'E: unable to pick chroot mode automatically' >&2\nexit 25\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(MachineError, match=r"unable to pick(?s:.*)uidmap"):
        make_base(None, BASE)  # type: ignore[arg-type]
    assert not list((tmp_path / "cache").rglob("base-*"))


def test_an_interrupted_bootstrap_undoes_its_mounts_first(tmp_path: Path) -> None:
    """As with Ctrl-C on the caller alone: the bootstrap has its time to clean up."""
    started, cleaned = tmp_path / "started", tmp_path / "cleaned"
    bootstrap = (
        f"trap 'sleep 1; touch {cleaned}; exit 1' TERM; touch {started}; "
        "for i in $(seq 600); do sleep 0.05; done"
    )
    script = (
        "from metta_sandbox.image.debian_base import _run_to_its_end;"
        f"_run_to_its_end(['sh', '-c', {bootstrap!r}])"
    )
    caller = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    with caller:
        try:
            deadline = time.monotonic() + 20
            while not started.exists():
                assert time.monotonic() < deadline
            caller.send_signal(signal.SIGINT)
            assert caller.wait(20) != 0
            assert cleaned.exists()
        finally:
            caller.kill()
