"""Programs played through the sandbox itself, a batch of scenarios at a time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz.kept import PlayedProgram
from fuzz.program import RandomProgram
from fuzz.scenarios import stage
from fuzz.score import score

#: A program keeps so many processes busy as it starts.
_EACH = 2
#: With so many others at work for each core, programs may be silent for twice as long.
_CROWD = 4
#: A batch that takes longer than so many seconds for each of its programs is ended.
_PATIENCE = 60


@dataclass(frozen=True)
class FuzzSetting:
    """How programs are played."""

    engine: str
    jobs: int
    load: int
    #: Where artifacts of what was misjudged stay.
    artifacts: Path
    tell: Callable[[str], None]


def play(programs: Sequence[RandomProgram], setting: FuzzSetting) -> Iterator[PlayedProgram]:
    """Play a batch; gives each program's outcome, in the order of the programs."""
    with tempfile.TemporaryDirectory(prefix="metta-fuzz-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # Who runs inside a container must be able to read it.
        folder.chmod(0o755)
        slower = _slower(max(setting.load, _EACH * setting.jobs))
        for program in programs:
            stage(program, folder, slower=slower)
        with _busy(setting.load):
            results = _run(folder, len(programs) * slower, setting)
        by_name = {one["name"]: one for one in results["scenarios"]}
        for program in programs:
            if program.name not in by_name:
                setting.tell(f"{program.name}: no result")
                continue
            played = _played(program, by_name[program.name], setting)
            if not played.score.right:
                _keep_artifacts(program, folder, setting)
            yield played


def _slower(load: int) -> float:
    """Say how many times longer all takes: by the load that we make, or that there is already."""
    crowd = max(load, os.getloadavg()[0]) / (os.cpu_count() or 1)
    return max(1, crowd / _CROWD)


def _run(folder: Path, count: float, setting: FuzzSetting) -> dict[str, Any]:
    command = [sys.executable, "-m", "metta_sandbox", "run", str(folder), "--quiet"]
    command += ["--engine", setting.engine, "--jobs", str(setting.jobs)]
    command += ["--artifacts", str(folder / "artifacts")]
    log = folder / "sandbox.log"
    with log.open("w") as out:
        subprocess.run(command, check=False, stdout=out, stderr=out, timeout=60 + count * _PATIENCE)
    path = folder / "artifacts" / "latest" / "results.json"
    if not path.exists():
        raise SystemExit(f"the sandbox left no results:\n{log.read_text()[-4000:]}")
    results: dict[str, Any] = json.loads(path.read_text())
    return results


def _played(program: RandomProgram, result: dict[str, Any], setting: FuzzSetting) -> PlayedProgram:
    return PlayedProgram(
        seed=program.seed,
        engine=setting.engine,
        load=setting.load,
        program=program.as_json(),
        verdict=result["verdict"],
        reason=result["reason"],
        causes=result["causes"],
        seconds=result["seconds"],
        score=score(program.truth, result["verdict"], result["causes"]),
    )


def _keep_artifacts(program: RandomProgram, folder: Path, setting: FuzzSetting) -> None:
    """Keep what a miss needs to be understood: its artifacts and its program."""
    target = setting.artifacts / program.name
    shutil.rmtree(target, ignore_errors=True)
    found = (folder / "artifacts" / "latest").resolve() / program.name
    if found.is_dir():
        shutil.copytree(found, target, symlinks=True, ignore_dangling_symlinks=True)
    shutil.copytree(folder / program.name, target / "program")
    shutil.copy(folder / f"{program.name}.yaml", target / "program")


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """Keep so many processes at work while programs are played."""
    ours = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for one in ours:
            one.kill()
        for one in ours:
            one.wait()
