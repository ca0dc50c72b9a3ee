"""How many of a folder's SkyPilot tasks load and play here: ``python -m benchmarks.tasks FOLDER``.

A task counts as played to the end if all of its nodes' commands exit with 0. Those are left out, by
the reason, whose text needs what this machine has not: a download, a GPU's own code, a program that
is not there, a container's image, or a service that never ends.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from metta_sandbox.errors import InputError
from metta_sandbox.skypilot.reading import read_documents
from metta_sandbox.skypilot.task import Overrides, Task, TaskFile, load

#: By what a task needs: words of its commands that say so.
_NEEDS = {
    "an end, which a server has not": r"serve_forever|http\.server",
    "a download": r"\b(?:pip3?|uv|uvx|conda|poetry|apt|apt-get|npm|yarn|cargo|brew|wget|curl)\b|"
    r"git clone|https?://|docker|huggingface|\bhf\b|from_pretrained|ollama|\bgs(?:util)?\b|aws s3",
    "a GPU's own code": r"nvidia|vllm|cuda|nccl|sglang|deepspeed|rocm|tpu|neuron|infiniband|gpu",
    "a program that is not here": r"\b(?:sudo|ray|mpirun|sky|kubectl|tensorboard|jupyter)\b",
}
#: Seconds that a file's tasks get.
_PATIENCE = 600
_SCRIPT = re.compile(r"[\w./-]+\.(?:py|sh)\b")


def main() -> int:
    """Count, and play what can be played."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--play", action="store_true", help="Play those that need nothing else.")
    parser.add_argument("--engine", default="auto")
    asked = parser.parse_args()
    files = sorted(path for folder in asked.folders for path in folder.rglob("*.y*ml"))
    tasks = [path for path in files if _is_task(path)]
    loaded: list[TaskFile] = []
    for path in tasks:
        try:
            loaded.append(load(path, _given(path)))
        except InputError as error:
            _say(f"refused: {error}")
    _say(f"{len(tasks)} task files; {len(loaded)} load, with every field accounted for")
    reasons = {file.path: _why_not(file) for file in loaded}
    for reason, count in Counter(filter(None, reasons.values())).most_common():
        _say(f"  {count} need {reason}")
    left = [file for file in loaded if not reasons[file.path]]
    _say(f"{len(left)} need none of these")
    if asked.play:
        ends = [_play(file, asked.engine) for file in left]
        _say(f"{sum(ends)} of {len(left)} play to the end")
    return 0


def _say(text: str) -> None:
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


def _is_task(path: Path) -> bool:
    try:
        documents = read_documents(path.read_text(encoding="utf-8"), path)
    except (InputError, OSError, ValueError):
        return False
    keys = {"run", "setup", "resources", "file_mounts"}
    return any(isinstance(one.data, dict) and keys & set(one.data) for one in documents)


def _given(path: Path) -> Overrides:
    """Give variables that a file leaves to ``--env`` a value, which it must have."""
    documents = read_documents(path.read_text(encoding="utf-8"), path)
    envs = [one.data.get("envs") or {} for one in documents if isinstance(one.data, dict)]
    return Overrides({str(name): "x" for env in envs for name, said in env.items() if said is None})


def _why_not(file: TaskFile) -> str:
    return next(filter(None, (_needs(task, file.path) for task in file.tasks)), "")


def _needs(task: Task, path: Path) -> str:
    if task.replica:
        return "a service that never ends"
    if task.image:
        return "an image of a registry"
    text = "\n".join([task.setup, task.run, *_scripts(task, path)])
    found = (need for need, words in _NEEDS.items() if re.search(words, text, re.IGNORECASE))
    return next(found, "a secret" if task.asked else "")


def _scripts(task: Task, path: Path) -> Iterator[str]:
    """Give the texts of local scripts that a task's commands name."""
    places = [path.parent, *_above(path)]
    if task.workdir:
        places += [place / task.workdir for place in places]
    for name in set(_SCRIPT.findall(f"{task.setup}\n{task.run}")):
        found = next((place / name for place in places if (place / name).is_file()), None)
        if found:
            yield found.read_text(encoding="utf-8", errors="replace")


def _above(path: Path) -> list[Path]:
    return list(path.parents)[:5]


def _play(file: TaskFile, engine: str) -> bool:
    """Play a file's tasks as its author would, from where its paths are."""
    env = [f"--env={name}=x" for name in _given(file.path).envs]
    command = [sys.executable, "-m", "metta_sandbox", "launch", str(file.path.resolve()), *env]
    command += ["--engine", engine, "--quiet", "--artifacts", tempfile.mkdtemp()]
    for folder in (_home(file), file.path.parent):
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
        if done.returncode == 0:
            break
    told = (
        "played" if done.returncode == 0 else f"ended with {done.returncode}: {done.stdout[-400:]}"
    )
    _say(f"{file.path}: {told}{done.stderr[-400:]}")
    return done.returncode == 0


def _home(file: TaskFile) -> Path:
    """Find the repository's root, from which its authors call ``sky launch``."""
    folders = [each for each in file.path.resolve().parents if (each / "examples").is_dir()]
    return folders[0] if folders else file.path.parent


if __name__ == "__main__":
    sys.exit(main())
