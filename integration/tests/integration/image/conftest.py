"""What image tests need of the machine: an engine, a registry, wheels made on the spot."""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from python_on_whales import DockerClient

from metta_sandbox.image.base_image import DEFAULT_BASE_IMAGE, BaseImage, ensure_base
from metta_sandbox.image.node_platform import NodePlatform
from metta_sandbox.ports import HeldPort


def lacking(what: str) -> None:
    """Skip on somebody's machine, fail in CI, where nothing may go untested unnoticed."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def platform(docker: DockerClient) -> NodePlatform:
    return NodePlatform.of_engine(docker.system.info().architecture or "")


@pytest.fixture(scope="session")
def base(docker: DockerClient, platform: NodePlatform) -> BaseImage:
    return ensure_base(docker, DEFAULT_BASE_IMAGE, platform, print)


@dataclass
class Registry:
    """A registry on this machine, which can be ended."""

    address: str
    process: subprocess.Popen[str]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    if shutil.which("docker-registry") is None:
        lacking("no docker-registry: apt-get install docker-registry")
    port = HeldPort()
    config = tmp_path / "registry.yml"
    config.write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {tmp_path / 'registry'}}}}}\n"
        f'http: {{addr: "127.0.0.1:{port.number}"}}\n'
    )
    command: list[str | Path] = ["docker-registry", "serve", config]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        said: list[str] = []
        listening = threading.Event()
        reader = threading.Thread(target=follow, args=(process, said, listening))
        reader.start()
        made = Registry(f"127.0.0.1:{port.number}", process)
        try:
            assert listening.wait(20), "\n".join(said)
            yield made
        finally:
            made.stop()
            reader.join()
            port.release()


def follow(process: subprocess.Popen[str], said: list[str], listening: threading.Event) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if "listening on" in line:
            listening.set()


@pytest.fixture
def answering() -> Callable[[int], object]:
    """Serve one HTTP status to whatever is asked."""

    @contextmanager
    def serve(status: int) -> Iterator[str]:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_error(status)

            def do_HEAD(self) -> None:
                self.send_error(status)

            def log_message(self, *_: object) -> None:
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"127.0.0.1:{server.server_port}"
            server.shutdown()

    return serve


MakeWheel = Callable[..., Path]


@pytest.fixture
def make_wheel() -> MakeWheel:
    def make(
        folder: Path, name: str, version: str, *requires: str, tag: str = "py3-none-any"
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{name.replace('-', '_')}-{version}"
        info = f"{stem}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        metadata += "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
        path = folder / f"{stem}-{tag}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{info}/METADATA", metadata)
            archive.writestr(
                f"{info}/WHEEL",
                f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
            )
            archive.writestr(f"{info}/RECORD", "")
        return path

    return make


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the user's own settings name, instead of any index."""
    folder = tmp_path / "links"
    folder.mkdir()
    for variable in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "true")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder
