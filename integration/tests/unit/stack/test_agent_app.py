"""The zipapp: the same bytes from the same sources, and nothing but the standard library in it."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

from metta_sandbox.stack import agent_app


def _sources() -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(agent_app.agent_app())) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_equal_sources_give_equal_bytes() -> None:
    assert agent_app.agent_app() == agent_app.agent_app()


def test_it_imports_only_itself_and_the_standard_library() -> None:
    sources = _sources()
    assert "metta_sandbox/node/agent/agent.py" in sources
    imported = set()
    for source in sources.values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                imported |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom):
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
    assert paths[0].read_bytes() == agent_app.agent_app()
    assert paths[0].stat().st_mode & 0o777 == 0o644
