"""Requirements, images, builds, mounts and limits of people's own, on real nodes."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from python_on_whales import DockerClient

from metta_sandbox.image.base_image import DEFAULT_BASE_IMAGE, ensure_base
from metta_sandbox.image.node_platform import NodePlatform

if TYPE_CHECKING:
    from tests.integration.workload.conftest import Play

SCORE = {"source": "log", "pattern": "m=(.*)"}


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a package that only a folder of pip's configuration has; returns its name."""
    folder, name = tmp_path / "wheels", "sandboxtestmine"
    folder.mkdir()
    info = f"{name}-1.5.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.5-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", "WORD = 'from my own package'\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return name


def trainer(name: str) -> dict[str, Any]:
    code = f"import {name}, wandb; print({name}.WORD); print('m=1')"
    return {"command": ["python", "-c", code], "launcher": "plain", "score": SCORE}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what is made in a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "metta-sandbox"


def test_a_command_has_its_requirements_and_they_are_installed_once(
    play: Play, mine: str, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "requirements.txt").write_text(f"# mine\n{mine}>=1\n")
    run = (
        f'python -c "import {mine}, numpy; print({mine}.WORD)" && sed -n 2p $(command -v torchrun)'
    )
    workload = {"requirements": "requirements.txt", "run": run}

    first = play("process", workload=workload)
    made = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    second = play("process", workload=workload)

    assert (first.status, second.status) == (0, 0), first.text + second.text
    log = first.read("logs/sweep-master.log")
    assert "from my own package" in log
    # torchrun runs in the node's own environment, over the one that has both.
    assert '"$HOME/venv/bin/python"' in log
    assert "making the trainer's environment" in first.text
    assert "packages: " not in second.text
    assert "making" not in second.text
    assert (
        made.items()
        <= {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}.items()
    )


def test_what_cannot_be_found_is_said_before_anything_starts(
    play: Play, mine: str, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "r.txt").write_text(f"{mine}\nsandboxtestgone\n")
    done = play("process", workload={"requirements": "r.txt", "run": "true"})

    assert done.status == 2
    assert f"{tmp_path}/r.txt:2:1: sandboxtestgone: There is no wheel" in done.text
    assert not done.folder.exists()
    assert cache.exists()


def test_what_needs_containers_is_skipped_without_them(play: Play, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    mounts = [{"source": "data", "target": "/data"}]
    done = play("process", workload={"mounts": mounts, "run": "true"})

    result = json.loads((done.folder.parent / "results.json").read_text())["scenarios"][0]
    assert (done.status, result["verdict"]) == (0, "skipped")
    assert result["reason"] == "the engine process lacks containers (workload.mounts)"


@pytest.fixture
def base(docker: DockerClient) -> str:
    platform = NodePlatform.of_engine(docker.system.info().architecture or "")
    return ensure_base(docker, DEFAULT_BASE_IMAGE, platform, print).name


def dockerfile(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "Dockerfile").write_text(text)


def test_a_command_runs_in_an_image_of_ones_own_with_mounts(
    base: str, play: Play, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "seen").write_text("mounted\n")
    (tmp_path / "data").chmod(0o755)
    dockerfile(
        tmp_path / "image",
        "ARG BASE\nFROM $BASE AS first\nARG WORD\nRUN echo built with $WORD > /made\n"
        "FROM first\nRUN echo too far >> /made\n",
    )
    build = {"context": "image", "args": {"BASE": base, "WORD": "$love"}, "target": "first"}
    run = (
        "cat /made /data/seen; touch /data/new || echo read-only; touch ~/new && echo at home\n"
        "echo shm $(df -m --output=size /dev/shm | tail -1); command -v torchrun || echo no torch\n"
    )

    done = play(
        "compose",
        workload={
            "build": build,
            "mounts": [{"source": "data", "target": "/data"}],
            "shared_memory": "32MiB",
            "run": run,
        },
    )

    assert done.status == 0, done.text
    log = done.read("logs/sweep-master.log").splitlines()
    for line in ("built with $love", "mounted", "read-only", "at home", "shm 32", "no torch"):
        assert line in log
    assert "too far" not in log


def test_an_image_that_cannot_be_a_node_is_refused_before_anything_starts(
    base: str, play: Play, tmp_path: Path
) -> None:
    assert base
    dockerfile(tmp_path / "empty", "FROM scratch\nCOPY Dockerfile /\n")
    dockerfile(tmp_path / "broken", f"FROM {base}\nRUN echo my last words && false\n")

    empty = play("compose", workload={"build": "empty", "run": "true"})
    broken = play("compose", workload={"build": "broken", "run": "true"})
    absent = play("compose", workload={"image": "127.0.0.1:1/my/x:1", "run": "true"})

    assert (empty.status, broken.status, absent.status) == (2, 2, 3)
    assert "has no Python that runs" in empty.text
    assert "my last words" in broken.text
    assert "127.0.0.1:1/my/x:1 is not on the engine" in absent.text
    assert not empty.folder.exists()


@pytest.mark.slow
def test_our_rollout_trains_in_an_image_of_ones_own(base: str, play: Play, tmp_path: Path) -> None:
    dockerfile(
        tmp_path / "image",
        "ARG BASE\nFROM $BASE\nRUN echo 'WORD = 7' > /own.py\nENV PYTHONPATH=/\n",
    )
    code = (
        "import own, sys, importlib.util as find; print('m=1')\n"
        "print(sys.prefix, own.WORD, find.find_spec('torch'))"
    )
    done = play(
        "compose",
        nodes=2,
        sweep={"trials": 1},
        workload={
            "build": {"context": "image", "args": {"BASE": base}},
            "trainer": {"command": ["python3", "-c", code], "score": SCORE},
        },
    )

    assert done.status == 0, done.text
    assert "/usr 7 None" in done.read("trials/x.r.1/rank-1.log")


@pytest.mark.slow
def test_requirements_reach_containers_through_an_image_that_is_built_once(
    base: str, play: Play, mine: str
) -> None:
    assert base
    workload = {"requirements": [mine], "trainer": trainer(mine)}
    first = play("compose", sweep={"trials": 1}, workload=workload)
    second = play("compose", sweep={"trials": 1}, workload=workload)

    assert (first.status, second.status) == (0, 0), first.text + second.text
    assert "from my own package" in second.read("trials/x.r.1/rank-0.log")
    assert "image: building" not in second.text


def test_a_local_process_has_a_path_and_a_bound_of_its_own_wherever_temporary_files_are(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ("long" * 20)).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("long" * 20)))

    workload = {
        "env": {"PATH": "/nowhere"},
        "limits": {"files": 1000},
        "setup": "exit 0",
        "run": "ulimit -n -H; echo $PATH; ls || true",
    }
    done = play("process", workload=workload)

    assert done.status == 0, done.text
    log = done.read("logs/sweep-master.log")
    assert "1000\n/nowhere\n" in log
    assert "ls: " in log


@pytest.mark.slow
def test_what_takes_too_much_ends_its_own_node_alone(base: str, play: Play) -> None:
    assert base
    # Children that sleep: what a fork bomb is, but for the work.
    bomb = "import os, time\nwhile True:\n    os.fork() or time.sleep(600)"
    run = (
        "ulimit -n -H\n"
        "python3 -c 'b\"x\" * 2**30' || echo memory: $?\n"
        f'python3 -c "{bomb}" || echo processes: $?\n'
    )
    limits = {"processes": 100, "memory": "300MiB", "files": 1000}

    done = play("compose", nodes=2, workload={"limits": limits, "run": run})

    assert done.status == 0, done.text
    for host in ("sweep-master", "sweep-worker"):
        log = done.read(f"logs/{host}.log")
        for line in ("1000", "memory: 137", "Resource temporarily unavailable", "processes: 1"):
            assert line in log
