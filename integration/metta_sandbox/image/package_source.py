"""Packages of the indexes that the user's own pip is configured with, for whoever has none to ask.

See ``pip_index_process`` for the process that asks. Each package is listed, and each file fetched,
once for all who ask; files stay in the user's cache.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from metta_sandbox.errors import MachineError
from metta_sandbox.image import pip_index_process
from metta_sandbox.image.host_cache import cache_folder
from metta_sandbox.image.pip_client import find_pip, is_cuda
from metta_sandbox.image.wheelhouse import TORCH_CPU_INDEX
from metta_sandbox.services.packages.answers import METADATA, ListedFile

#: Packages whose CPU builds PyTorch publishes on an index of its own.
_TORCH = frozenset({"torch", "torchvision", "torchaudio"})
#: Seconds that a process gets to end once nobody asks it any more.
_END = 5.0
_INTERPRETER = re.compile(r"^sys\.executable: (.+)$", re.MULTILINE)


class LackingError(MachineError):
    """A package, or a file of it, can't be had; the message says why."""


@dataclass(frozen=True)
class Fetched:
    """A file that was fetched.

    Args:
        path: Where it lies.
        sha256: Its digest.
        size: In bytes.
        fresh: Whether it came from an index just now, and not from the cache.

    """

    path: Path
    sha256: str
    size: int
    fresh: bool


class PackageSource:
    """Answers several at once; starts nothing before it is asked.

    Args:
        command: What answers, as ``pip_index_process`` does; found when it is needed.
        cache: Where files are kept.

    """

    def __init__(
        self, command: Callable[[], list[str]] | None = None, cache: Path | None = None
    ) -> None:
        self._command = command or index_command
        self._cache = cache
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._waiting: dict[int, Future[Mapping[str, Any]]] = {}
        self._asked: dict[tuple[object, ...], Future[Any]] = {}
        self._numbers = count(1)
        self._problem = ""

    def listed(self, name: str, *, gpu: bool = False) -> tuple[ListedFile, ...]:
        """List the files of a package.

        Args:
            name: Its normalised name.
            gpu: Whether CUDA builds are wanted; else those for CPUs are listed, too.

        Raises:
            LackingError: No index has any.
            MachineError: The user's pip can't be asked.

        """
        if is_cuda(name) and not gpu:
            raise LackingError("it is CUDA's, and these nodes have no GPU (hardware: gpu)")
        files: tuple[ListedFile, ...] = self._once(
            ("list", name, gpu), lambda: self._list(name, gpu=gpu)
        )
        return files

    def fetch(self, name: str, file: str, *, gpu: bool = False) -> Fetched:
        """Bring a file that is listed.

        Args:
            name: The package's normalised name.
            file: The file's; of a wheel that is listed so, its metadata, too.
            gpu: As it was listed.

        Raises:
            LackingError: It is not listed, or could not be fetched.
            MachineError: The user's pip can't be asked.

        """
        listed = {each.file: each for each in self.listed(name, gpu=gpu)}
        wheel = listed.get(file.removesuffix(METADATA))
        if file not in listed and (wheel is None or not wheel.has_metadata):
            raise LackingError("no index lists it")
        digest = listed[file].sha256 if file in listed else ""
        fetched: Fetched = self._once(
            ("fetch", name, file), lambda: self._fetch(name, file, digest)
        )
        return fetched

    def close(self) -> None:
        """End the process, if there is one, and whatever is still being fetched."""
        with self._lock:
            process, self._process = self._process, None
            self._problem = self._problem or "the run is over"
        if process is None:
            return
        assert process.stdin is not None
        with suppress(OSError):  # it has ended
            process.stdin.close()
        try:
            process.wait(_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _once(self, key: tuple[object, ...], work: Callable[[], Any]) -> Any:
        """Do something for the first who asks; the others wait for what came of it."""
        with self._lock:
            mine = key not in self._asked
            future = self._asked.setdefault(key, Future())
        if mine:
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001 - for all who wait
                future.set_exception(error)
                with self._lock:
                    del self._asked[key]
        return future.result()

    def _list(self, name: str, *, gpu: bool) -> tuple[ListedFile, ...]:
        also = [TORCH_CPU_INDEX] if name in _TORCH and not gpu and sys.platform == "linux" else []
        told = self._ask({"list": name, "also": also})
        if found := tuple(ListedFile(**each) for each in told["listed"]):
            return found
        reasons = dict.fromkeys(map(_plainly, told["said"]))
        raise LackingError("; ".join(reasons) or "no index has it")

    def _fetch(self, name: str, file: str, digest: str) -> Fetched:
        folder = cache_folder("packages") if self._cache is None else self._cache
        kept = folder / digest / file
        if digest and kept.is_file():
            return Fetched(kept, digest, kept.stat().st_size, fresh=False)
        told = self._ask({"fetch": name, "file": file, "folder": str(folder)})
        return Fetched(folder / told["sha256"] / file, told["sha256"], told["bytes"], fresh=True)

    def _ask(self, question: Mapping[str, object]) -> Mapping[str, Any]:
        answer: Future[Mapping[str, Any]] = Future()
        with self._lock:
            if self._problem:
                raise MachineError(self._problem)
            if self._process is None:
                self._start()
            assert self._process is not None
            assert self._process.stdin is not None
            number = next(self._numbers)
            self._waiting[number] = answer
            with suppress(OSError):  # it has ended, which is told below
                self._process.stdin.write(json.dumps({"id": number, **question}) + "\n")
                self._process.stdin.flush()
        told = answer.result()
        if problem := told.get("problem"):
            raise LackingError(problem)
        return told

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # Ctrl-C is for whoever asks, and who closes its input.
            start_new_session=True,
        )
        threading.Thread(target=self._hear, args=(self._process,), daemon=True).start()

    def _hear(self, process: subprocess.Popen[str]) -> None:
        """Hand out answers until the process ends; from then on nothing can be had."""
        assert process.stdout is not None
        problem = "the user's pip has ended while it was asked for packages"
        with process.stdout as answers:
            for line in answers:
                told = json.loads(line)
                if told["id"] == 0:
                    problem = f"{told['problem']}\n  -> {told['mends']}"
                    continue
                with self._lock:
                    waiting = self._waiting.pop(told["id"])
                waiting.set_result(told)
        with self._lock:
            self._problem = self._problem or problem
            left, self._waiting = self._waiting, {}
        for waiting in left.values():
            waiting.set_exception(MachineError(problem))


def index_command() -> list[str]:
    """Build the command that asks the indexes of the user's own pip.

    Raises:
        MachineError: There is no pip, or it does not tell what it runs on.

    """
    pip = find_pip()
    python = pip[0] if pip[1:] == ["-m", "pip"] else _interpreter_of(pip)
    return [python, pip_index_process.__file__]


def _interpreter_of(pip: list[str]) -> str:
    said = subprocess.run([*pip, "debug"], capture_output=True, text=True, check=False).stdout
    if found := _INTERPRETER.search(said):
        return found[1]
    raise MachineError(
        f"{pip[0]} does not tell which Python it runs on",
        f"{sys.executable} -m ensurepip --upgrade",
    )


def _plainly(said: str) -> str:
    """Say in a few words why an index gave nothing."""
    place = re.search(r"https?://[^\s/]+", said)
    if " 404 " in said:
        return "no index has it"
    return f"{place[0] if place else 'an index'} gives no answer: {said.partition(': ')[2][:200]}"
