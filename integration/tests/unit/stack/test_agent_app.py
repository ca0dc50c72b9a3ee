"""The zipapp: the same bytes from the same sources, and nothing but the standard library in it."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from metta_sandbox.stack import agent_app


def _sources() -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(agent_app.agent_app())) as archive:
        names = [name for name in archive.namelist() if name.endswith(".py")]
        return {name: archive.read(name).decode() for name in names}


def _loaded_from(app: Path) -> str:
    """Tell what an interpreter loads the agent's programs from, by what it knows of their lines."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from metta_sandbox.node.agent.wire import encode; print(encode.__code__.co_filename)"
    )
    command = [sys.executable, "-I", "-S", "-c", program, str(app)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_equal_sources_are_named_alike(tmp_path: Path) -> None:
    assert agent_app.place(tmp_path) == agent_app.place(tmp_path)


def test_what_is_compiled_is_loaded_by_the_same_python_and_passed_over_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = agent_app.install(tmp_path / "own")
    monkeypatch.setattr(agent_app, "MAGIC_NUMBER", b"\x00\x00\r\n")
    foreign = agent_app.install(tmp_path / "foreign")
    assert foreign.name != own.name
    source = "metta_sandbox/node/agent/wire.py"
    assert _loaded_from(own) == source
    assert _loaded_from(foreign) == f"{foreign}/{source}"


def test_it_imports_only_itself_and_the_standard_library() -> None:
    sources = _sources()
    assert "metta_sandbox/node/agent/agent.py" in sources
    imported = set()
    for source in sources.values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                imported |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.module is not None
                imported.add(node.module)
    own = {name for name in imported if name.startswith("metta_sandbox.node.agent.")}
    rest = {name.partition(".")[0] for name in imported - own}
    assert rest <= sys.stdlib_module_names
    assert {name.replace(".", "/") + ".py" for name in own} <= set(sources)


def test_its_sources_are_python_3_9() -> None:
    for source in _sources().values():
        ast.parse(source, feature_version=(3, 9))


def test_it_runs_isolated(tmp_path: Path) -> None:
    app = agent_app.install(tmp_path)
    command = [sys.executable, "-I", "-S", str(app), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for program in ("agent", "hub", "relay", "groups", "rank"):
        assert program in done.stdout


def test_installing_it_at_once_and_again_leaves_one(tmp_path: Path) -> None:
    paths = []
    workers = [
        threading.Thread(target=lambda: paths.append(agent_app.install(tmp_path / "in")))
        for _ in range(8)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(paths) == 8
    assert set((tmp_path / "in").iterdir()) == set(paths)
    assert len(set(paths)) == 1
    assert zipfile.ZipFile(paths[0]).testzip() is None
    assert paths[0].stat().st_mode & 0o777 == 0o644
