"""What all tests share: an engine for those that ask for it, and none for those that don't."""

from __future__ import annotations

import os
import signal

import pytest
from python_on_whales import DockerClient
from python_on_whales.exceptions import DockerException

_NO_ENGINE = "unix:///nonexistent/docker.sock"

# What a shell's background job and ``nohup`` ignore, tests and what they start shall hear.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the fixture decide the marker."""
    for item in items:
        if "docker" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.docker)


def lacking(what: str) -> None:
    """Skip on somebody's machine; fail in CI, where nothing may go untested unnoticed."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"{what}, and in CI nothing may go untested")
    pytest.skip(what)


@pytest.fixture(scope="session")
def docker() -> DockerClient:
    """Reach the engine. Asking for it marks a test ``docker``."""
    client = DockerClient()
    try:
        client.system.info()
    except DockerException as error:
        lacking(f"no Docker engine answers ({(error.stderr or str(error)).strip()})")
    return client


@pytest.fixture(autouse=True)
def _no_engine_by_accident(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a test that did not ask for the engine from reaching it."""
    if "docker" not in request.fixturenames:
        monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
        monkeypatch.setenv("DOCKER_HOST", _NO_ENGINE)
