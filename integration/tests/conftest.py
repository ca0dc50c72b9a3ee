"""What all tests share: an engine for those that ask for it, and none for those that don't."""

from __future__ import annotations

import ast
import os
import signal
import subprocess

import pytest
from python_on_whales import DockerClient
from python_on_whales.exceptions import DockerException

from metta_sandbox.errors import MachineError
from metta_sandbox.image.pip_client import find_pip

#: What of pip's configuration says where packages come from, and how to get there.
_ACCESS = (
    *("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "cert"),
    *("client-cert", "proxy", "default-timeout", "timeout", "retries", "keyring-provider"),
)
#: Later ones go over earlier ones, as in pip itself.
_SECTIONS = ("global", "download", ":env:")
_NO_ENGINE = "unix:///nonexistent/docker.sock"

# What a shell's background job and ``nohup`` ignore, tests and what they start shall hear.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure() -> None:
    """Settle what all tests find, before any module of theirs is read."""
    _leave_access_alone()


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


def _leave_access_alone() -> None:
    """Let tests, and what they start, see of this machine's pip configuration where packages are.

    What else people configure (constraints, formats, versions not yet released) is not for them. A
    test about such settings makes its own.
    """
    access = pip_access(_pip_config())
    for name in [each for each in os.environ if each.startswith("PIP_")]:
        del os.environ[name]
    # The one file that keeps pip from reading any, the machine's own included.
    os.environ.update({**access, "PIP_CONFIG_FILE": os.devnull})


def _pip_config() -> str:
    try:
        command = [*find_pip(), "config", "list"]
    except MachineError:  # then no test gets far enough for it to matter
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def pip_access(config: str) -> dict[str, str]:
    """Make variables of what ``pip config list`` says of access to packages."""
    found: dict[str, str] = {}
    for section in _SECTIONS:
        for line in config.splitlines():
            key, _, value = line.partition("=")
            if key.startswith(f"{section}.") and key.removeprefix(f"{section}.") in _ACCESS:
                name = key.removeprefix(f"{section}.").upper().replace("-", "_")
                # Over several lines in a file, with blanks between them in a variable.
                found[f"PIP_{name}"] = " ".join(str(ast.literal_eval(value)).split())
    return found


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
