"""Nodes without a way out install packages as anybody does: pip asks, and the harness answers."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import secrets
import tarfile
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.workload.conftest import Play

#: Builds a wheel of one module with the standard library, so that nothing else must be fetched.
_BACKEND = """
import pathlib, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    info = "sandboxtestbuilt-1.dist-info"
    with zipfile.ZipFile(pathlib.Path(folder, "sandboxtestbuilt-1-py3-none-any.whl"), "w") as wheel:
        wheel.writestr("sandboxtestbuilt.py", "WORD = 'built'")
        told = "Metadata-Version: 2.1\\nName: sandboxtestbuilt\\nVersion: 1"
        wheel.writestr(f"{info}/METADATA", told)
        tag = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any"
        wheel.writestr(f"{info}/WHEEL", tag)
        wheel.writestr(f"{info}/RECORD", "")
    return "sandboxtestbuilt-1-py3-none-any.whl"
"""
_PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


class Index:
    """A package index, and what was asked of it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()
        # What another test has fetched is in the user's cache.
        self._summary = f"Summary: {secrets.token_hex(8)}\n"

    def add_wheel(self, name: str, version: str, code: str, *requires: str) -> None:
        """Make a wheel of one module."""
        info, content = f"{name}-{version}.dist-info", io.BytesIO()
        needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
        metadata = (
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{self._summary}{needs}"
        )
        tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        with zipfile.ZipFile(content, "w") as wheel:
            wheel.writestr(f"{name}.py", code)
            wheel.writestr(f"{info}/METADATA", metadata)
            wheel.writestr(f"{info}/WHEEL", tag)
            digest = base64.urlsafe_b64encode(hashlib.sha256(code.encode()).digest()).rstrip(b"=")
            wheel.writestr(f"{info}/RECORD", f"{name}.py,sha256={digest.decode()},{len(code)}\n")
        self.files[f"{name}-{version}-py3-none-any.whl"] = content.getvalue()

    def add_source(self) -> None:
        """Make a source distribution, which whoever installs it must build."""
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as archive:
            info = f"Metadata-Version: 2.1\nName: sandboxtestbuilt\nVersion: 1\n{self._summary}"
            for file, text in (
                ("pyproject.toml", _PYPROJECT),
                ("backend.py", _BACKEND),
                ("PKG-INFO", info),
            ):
                member = tarfile.TarInfo(f"sandboxtestbuilt-1/{file}")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
        self.files["sandboxtestbuilt-1.tar.gz"] = content.getvalue()

    def answer(self, path: str) -> bytes | None:
        """Give a package's page, or a file."""
        self.asked[path] += 1
        part = path.strip("/").split("/")
        if part[0] == "files":
            return self.files.get(part[1])
        links = [
            f'<a href="/files/{file}#sha256={hashlib.sha256(content).hexdigest()}">{file}</a>'
            for file, content in self.files.items()
            if file.startswith(f"{part[-1]}-")
        ]
        return f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Index]:
    """Serve an index of the test's own beside those that pip is configured with."""
    index = Index()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = index.answer(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", "text/html" if "simple" in self.path else "x/y")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    # What was fetched for an earlier test is not to be had from pip's own cache.
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip"))
    yield index
    server.shutdown()
    server.server_close()
    thread.join()


def installs_as_anybody_does(play: Play, engine: str, index: Index, folder: Path) -> None:
    """Play a sweep whose trainer's packages are installed by ``setup`` on two nodes."""
    index.add_wheel("sandboxtestone", "1.5", "WORD = 'one'", "sandboxtesttwo>=1")
    index.add_wheel("sandboxtesttwo", "1.0", "WORD = 'two'")
    index.add_wheel("torch", "0.5", "__version__ = '0.5'")
    index.add_source()
    (folder / "mine").mkdir()
    (folder / "mine" / "requirements.txt").write_text(
        "sandboxtestone\nsandboxtestbuilt\ntorch==0.5\n"
    )
    code = (
        "import numpy, torch, sandboxtestone, sandboxtesttwo, sandboxtestbuilt as built; "
        "print(sandboxtestone.WORD, sandboxtesttwo.WORD, built.WORD, sep='\\n'); "
        "print('m=' + torch.__version__)"
    )
    done = play(
        engine,
        nodes=2,
        sweep={"trials": 1},
        workload={
            "folder": "mine",
            "setup": "pip install -r requirements.txt",
            "trainer": {
                "command": ["python", "-c", code],
                "launcher": "plain",
                "world_size": "any",
                "score": {"source": "log", "pattern": "m=(.*)"},
            },
        },
    )
    told = json.loads(done.read("packages.json"))

    # Our rollout has scored it, with the torch that it came with.
    assert done.status == 0, done.text
    (trial,) = json.loads(done.read("../results.json"))["scenarios"][0]["trials"]
    assert trial["score"] == 0.5
    assert {each["package"] for each in told} >= {
        "sandboxtestone", "sandboxtesttwo", "sandboxtestbuilt", "torch",
    }  # fmt: skip
    fetched = {path: count for path, count in index.asked.items() if path.startswith("/files/")}
    assert set(fetched.values()) == {1}, "once for all nodes"
    assert len(fetched) == 4


def test_local_processes_install_as_anybody_does(play: Play, index: Index, tmp_path: Path) -> None:
    installs_as_anybody_does(play, "process", index, tmp_path)


@pytest.mark.usefixtures("docker")
def test_containers_install_as_anybody_does(play: Play, index: Index, tmp_path: Path) -> None:
    installs_as_anybody_does(play, "compose", index, tmp_path)


@pytest.mark.usefixtures("index")
def test_what_no_index_has_ends_setup_at_once_with_its_name(play: Play) -> None:
    done = play("process", workload={"setup": "pip install sandboxtestgone", "run": "true"})

    assert done.status != 0
    assert "No matching distribution found for sandboxtestgone" in done.text
    assert "could not be had: sandboxtestgone: no index has it" in done.text


def test_what_is_not_as_its_index_says_is_not_installed(play: Play, index: Index) -> None:
    index.add_wheel("sandboxtestone", "1.5", "WORD = 'one'")
    files = dict(index.files)

    def answer(path: str) -> bytes | None:
        if path.startswith("/files/"):
            return b"other"
        index.files = files
        return Index.answer(index, path)

    index.answer = answer  # type: ignore[method-assign]
    done = play("process", workload={"setup": "pip install sandboxtestone", "run": "true"})

    assert done.status != 0
    assert "its sha256 is not what the index says" in done.text


@pytest.mark.usefixtures("docker")
def test_a_stranger_has_what_was_reviewed_and_nobody_hears_of_more(
    play: Play, index: Index
) -> None:
    index.add_wheel("sandboxtestone", "1.5", "WORD = 'one'")
    index.add_wheel("sandboxtesttwo", "1.0", "WORD = 'two'")
    ask = "pip install --force-reinstall sandboxtestone && ! pip install sandboxtesttwo"
    workload = {"requirements": ["sandboxtestone"], "run": ask}
    done = play("compose", "--untrusted", workload=workload)

    assert done.status == 0, done.text
    assert "sandboxtesttwo: --untrusted: it is not among workload.requirements" in done.text
    assert index.asked["/simple/sandboxtestone/"] > 0
    assert index.asked["/simple/sandboxtesttwo/"] == 0


@pytest.mark.usefixtures("docker")
def test_a_network_that_is_opened_leads_out_and_the_report_says_so(play: Play) -> None:
    # A bridge that has an address is a gateway, and answers, if only that nobody listens.
    code = (
        "import socket; lines = open('/proc/net/route').read().splitlines()[1:]; "
        "hops = [line.split()[2] for line in lines if line.split()[1] == '00000000']; "
        "hop = socket.inet_ntoa(bytes.fromhex(hops[0])[::-1]); "
        "import errno; way = socket.socket(); way.settimeout(9); "
        "assert way.connect_ex((hop, 1)) in (0, errno.ECONNREFUSED)"
    )
    done = play("compose", workload={"network": "open", "run": f'python -c "{code}"'})
    sealed = play("compose", workload={"run": f'python -c "{code}"'})

    assert done.status == 0, done.text
    assert "its nodes had a way out (workload.network: open)" in done.text
    assert sealed.status != 0
