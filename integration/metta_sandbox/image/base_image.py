"""The image that node images stand on: on the engine already, pulled, or made from packages."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from python_on_whales import DockerClient
from python_on_whales.exceptions import DockerException, NoSuchImage

from metta_sandbox.errors import InputError, MachineError
from metta_sandbox.image.debian_base import DebianBase, make_base
from metta_sandbox.image.node_platform import NodePlatform
from metta_sandbox.progress import Progress

DEFAULT_BASE_IMAGE = "python:3.11-slim-bookworm"

#: How long a registry may take to say anything, and a pull as a whole, in seconds.
FIRST_ANSWER_SECONDS = 60.0
WHOLE_PULL_SECONDS = 1800.0

#: What a registry says that is there and has no such image, or not for us.
_REFUSED = re.compile(
    r"manifest (?:\S+ )?unknown|not found: |: not found|repository does not exist|name unknown"
    r"|invalid reference format|no matching manifest|pull access denied|unauthorized|denied:",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class BaseImage:
    """A base image that is on the engine.

    Args:
        name: What a Dockerfile calls it.
        id: Its content's name.
        seconds: What it took to have it.
        origin: ``present``, ``pulled`` or ``packages``.

    """

    name: str
    id: str
    seconds: float
    origin: str


def find_base(docker: DockerClient, name: str, platform: NodePlatform) -> BaseImage | None:
    """Return the base image if the engine has it, or the one that took its place before."""
    started = time.perf_counter()
    candidates = [name]
    if name == DEFAULT_BASE_IMAGE:
        candidates.append(DebianBase(platform.debian_architecture).tag)
    for candidate in candidates:
        try:
            found = docker.image.inspect(candidate)
        except NoSuchImage:
            continue
        return BaseImage(candidate, found.id, time.perf_counter() - started, "present")
    return None


def ensure_base(
    docker: DockerClient, name: str, platform: NodePlatform, progress: Progress
) -> BaseImage:
    """Return the base image, pulling it or making one from packages if it is not there.

    Only the default image has a stand-in. Of an image the user has named, no other will do.

    Raises:
        InputError: The registry answers that it has no image of that name for us.
        MachineError: No registry answers, and nothing can take its place.

    """
    present = find_base(docker, name, platform)
    if present is not None:
        return present
    started = time.perf_counter()
    progress(f"base image: pulling {name}")
    problem = pull(docker, name)
    origin = "pulled"
    if problem:
        if name != DEFAULT_BASE_IMAGE:
            raise not_pulled(
                f"The base image {name}",
                problem,
                "check its name, or log in: docker login",
                "load it from a file: docker load < image.tar; or leave it to "
                f"{DEFAULT_BASE_IMAGE}",
            )
        progress(f"base image: no registry gives {name} ({problem}); making one from packages")
        name = make_base(docker, DebianBase(platform.debian_architecture))
        origin = "packages"
    return BaseImage(name, docker.image.inspect(name).id, time.perf_counter() - started, origin)


def refused(problem: str) -> bool:
    """Tell whether a failed pull is a registry's answer, rather than the lack of one."""
    return _REFUSED.search(problem) is not None


def pull(docker: DockerClient, name: str) -> str:
    """Pull an image; return what went wrong in one line, or an empty string.

    The engine bounds its own requests. Where it does not come back all the same, this stops
    waiting for it.
    """
    answers: queue.Queue[str | None] = queue.Queue()
    failure: list[str] = []

    def work() -> None:
        try:
            # With ``stream_logs`` it gives lines; its signature can't say so.
            for _, line in cast(Iterable[tuple[str, bytes]], docker.pull(name, stream_logs=True)):
                answers.put(line.decode(errors="replace"))
        except DockerException as error:
            failure.append(_reason(error))
        answers.put(None)

    threading.Thread(target=work, daemon=True, name=f"pull {name}").start()
    deadline = time.monotonic() + WHOLE_PULL_SECONDS
    limit = FIRST_ANSWER_SECONDS
    try:
        while answers.get(timeout=limit) is not None:
            limit = max(deadline - time.monotonic(), 0.0)
    except queue.Empty:
        return f"no answer within {limit:.0f} s"
    return failure[0] if failure else ""


def _reason(error: DockerException) -> str:
    lines = [line for line in (error.stderr or "").splitlines() if line.strip()]
    return lines[-1].removeprefix("Error response from daemon: ") if lines else str(error)


def not_pulled(
    image: str, problem: str, if_refused: str, if_silent: str
) -> InputError | MachineError:
    """Make the error for an image that could not be pulled.

    Args:
        image: What it is called in the message.
        problem: What went wrong, in one line.
        if_refused: What to do if the registry answers that it has no such image for us.
        if_silent: What to do if no registry answers.

    """
    if refused(problem):
        return InputError(f"{image} can't be had: {problem}", if_refused)
    return MachineError(
        f"{image} is not on the engine, and its registry does not answer: {problem}", if_silent
    )
