"""The user's own pip: found, asked, and stopped before it fetches gigabytes of CUDA."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from metta_sandbox.errors import MachineError
from metta_sandbox.image.node_platform import NodePlatform

#: Distributions that only a CUDA build of torch needs. ``nvidia-ml-py`` is a small pure one.
_CUDA = re.compile(
    r"""^\s*(?:Collecting|Downloading|Processing|Using\ cached|Obtaining)\b
        .*?(?<![\w.+-])
        (nvidia(?:[-_](?!ml[-_]py)[a-z]\w*)+ | (?:pytorch[-_])?triton\b
        | cuda[-_](?:bindings|pathfinder|python|toolkit)\b
        | torch-[\d.]+[\w.]*(?:\+|%2B)cu\d+)""",
    re.VERBOSE,
)
_FROM = re.compile(r"\s\(from .*?\)?$")
_BIG_TORCH = re.compile(
    r"^\s*(?:Downloading|Using cached) (?:\S*/)?(torch-\d\S*\.whl) \(([\d.]+) (MB|GB)\)"
)

#: A CPU wheel of torch is 100 to 250 MB, a CUDA one 500 MB and more.
LARGEST_CPU_TORCH_MB = 400.0

_NOT_FOUND = re.compile(r"No matching distribution found for ([A-Za-z0-9][\w.-]*)(\S*)")


#: Names of distributions that only a CUDA build of torch needs.
_CUDA_NAME = re.compile(
    r"nvidia-(?!ml-py$).+|cuda-(?:bindings|pathfinder|python|toolkit)|(?:pytorch-)?triton"
)


def is_cuda(name: str) -> bool:
    """Tell whether a distribution, by its normalised name, is part of CUDA."""
    return _CUDA_NAME.fullmatch(name) is not None


def cuda_in(line: str) -> str:
    """Return what in a line of pip's output belongs to CUDA, or an empty string."""
    if match := _CUDA.match(_FROM.sub("", line)):
        return match[1]
    if match := _BIG_TORCH.match(line):
        megabytes = float(match[2]) * (1000 if match[3] == "GB" else 1)
        if megabytes > LARGEST_CPU_TORCH_MB and "cpu" not in match[1]:
            return f"{match[1]} ({match[2]} {match[3]})"
    return ""


@dataclass(frozen=True)
class PipResult:
    """How a run of pip ended: its status, last lines, and what CUDA stopped it (or nothing)."""

    status: int
    tail: tuple[str, ...]
    cuda: str = ""

    def without_wheel(self) -> str:
        """Return the requirement pip found no wheel for, or an empty string."""
        for line in reversed(self.tail):
            if match := _NOT_FOUND.search(line):
                return match[1] + match[2]
        return ""


@dataclass(frozen=True)
class PipDownload:
    """One ``pip download``, in full, as a value.

    Args:
        requirements: What is asked for.
        constraints: A constraints file, or None.
        destination: An empty folder for the wheels.
        platform: Whose wheels.
        find_links: Further folders to look in, before any index.
        extra_index: An index to try beside the user's own, or None.

    """

    requirements: tuple[str, ...]
    constraints: Path | None
    destination: Path
    platform: NodePlatform
    find_links: tuple[Path, ...] = ()
    extra_index: str | None = None

    def arguments(self) -> list[str]:
        """Return pip's arguments; everything else comes from the user's configuration."""
        arguments = ["download", "--no-input", "--progress-bar", "off"]
        arguments += ["--disable-pip-version-check", "--dest", str(self.destination)]
        arguments += self.platform.pip_options()
        if self.constraints is not None:
            arguments += ["--constraint", str(self.constraints)]
        for folder in self.find_links:
            arguments += ["--find-links", str(folder)]
        if self.extra_index is not None:
            # The user did not ask for this index: where it can't be reached, say so soon.
            arguments += ["--extra-index-url", self.extra_index, "--retries", "1"]
            arguments += ["--timeout", "15"]
        return [*arguments, *self.requirements]


def build_pure_wheel(requirement: str, constraints: Path | None, folder: Path) -> list[str]:
    """Return the arguments that build one wheel from its source distribution into ``folder``."""
    arguments = ["wheel", "--no-input", "--progress-bar", "off", "--disable-pip-version-check"]
    arguments += ["--no-deps", "--wheel-dir", str(folder)]
    if constraints is not None:
        arguments += ["--constraint", str(constraints)]
    return [*arguments, requirement]


def find_pip() -> list[str]:
    """Return the command for pip: this interpreter's, or the one on the PATH.

    Raises:
        MachineError: There is none.

    """
    own = [sys.executable, "-m", "pip"]
    if subprocess.run([*own, "--version"], capture_output=True, check=False).returncode == 0:
        return own
    for name in ("pip3", "pip"):
        if path := shutil.which(name):
            return [path]
    raise MachineError(
        f"{sys.executable} has no pip, which fetches the nodes' packages",
        f"{sys.executable} -m ensurepip --upgrade",
    )


def run_pip(
    command: Sequence[str], on_line: Callable[[str], None], *, refuse_cuda: bool
) -> PipResult:
    """Run pip, watching what it says; with ``refuse_cuda``, end it at the first sign of CUDA.

    pip says which packages it collects before it downloads the large ones, with every index that
    serves metadata (PEP 658); where an index does not, torch's own size gives it away.
    """
    # pip's quiet and verbose settings change what it prints, and this reads what it prints.
    environ = {**os.environ, "PIP_QUIET": "0", "PIP_VERBOSE": "0", "PYTHONUNBUFFERED": "1"}
    tail: list[str] = []
    cuda = ""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environ,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for raw in process.stdout:
                line = raw.rstrip()
                tail = [*tail[-29:], line]
                cuda = cuda_in(line) if refuse_cuda else ""
                if cuda:
                    process.terminate()
                    break
                on_line(line)
        except BaseException:
            process.terminate()
            process.wait(timeout=20)
            raise
    return PipResult(process.returncode, tuple(tail), cuda)
