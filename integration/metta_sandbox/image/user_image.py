"""An image of the user's: on the engine, pulled, or built, and looked into before it is used."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass

from python_on_whales import DockerClient

from metta_sandbox.errors import InputError, StackError
from metta_sandbox.image.base_image import not_pulled, pull
from metta_sandbox.image.build import ImageBuild
from metta_sandbox.image.host_cache import cache_folder, locked
from metta_sandbox.image.node_image import find_image, run_build
from metta_sandbox.image.node_platform import ROLLOUT_GLIBC, ROLLOUT_PYTHONS
from metta_sandbox.progress import Progress

#: The oldest Python that the agent runs on.
_OLDEST = (3, 9)
#: Commands that an image may call its Python.
_NAMES = ("python3", "python")
#: Printed by an image's Python, as one line of JSON.
_LOOK = """\
import importlib.util, json, os, shutil, sys
names = getattr(os, "confstr_names", {})
libc = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in names else ""
print(json.dumps({
    "interpreter": sys.executable,
    "python": "%d.%d" % sys.version_info[:2],
    "glibc": (libc or "").replace("glibc ", ""),
    "bash": bool(shutil.which("bash")),
    "venv": all(map(importlib.util.find_spec, ("venv", "ensurepip"))),
}))
"""


@dataclass(frozen=True)
class UserImage:
    """An image of the user's that is on the engine.

    Args:
        tag: Its name.
        id: The engine's name of its content.
        interpreter: Path of its Python.
        python: That one's major and minor version.
        glibc: Its C library's version; empty if it has another.
        bash: Whether it has bash.
        venv: Whether its Python can make environments.

    """

    tag: str
    id: str
    interpreter: str
    python: str
    glibc: str
    bash: bool
    venv: bool

    def lacks(self, *, rollout: bool) -> str:
        """Say why nothing of ours, or our rollout in particular, can run in it; or nothing."""
        if tuple(map(int, self.python.split("."))) < _OLDEST:
            return f"its Python is {self.python}; the agent needs 3.9 or later"
        if not rollout:
            return "" if self.bash else "it has no bash, in which workload.run is started"
        if self.python not in ROLLOUT_PYTHONS:
            known = " or ".join(ROLLOUT_PYTHONS)
            return f"our rollout needs Python {known} beside your trainer; it has {self.python}"
        if not self.glibc or _version(self.glibc) < ROLLOUT_GLIBC:
            found = f"glibc {self.glibc}" if self.glibc else "another C library than glibc"
            return f"our rollout needs glibc {'.'.join(map(str, ROLLOUT_GLIBC))}; it has {found}"
        return "" if self.venv else "its Python can't make environments (python3-venv is missing)"


def ensure_user_image(
    docker: DockerClient, image: str | None, build: ImageBuild | None, progress: Progress
) -> UserImage:
    """Return an image that is on the engine, pulling or building it if need be.

    Raises:
        InputError: There is no such image, it can't be built, or it has no Python.
        MachineError: No registry answers.

    """
    tag = image or ""
    if build is not None:
        tag = build.tag
        _build(docker, build, progress)
    elif find_image(docker, tag) is None:
        progress(f"image: pulling {tag}")
        if problem := pull(docker, tag):
            raise not_pulled(
                f"the image {tag}",
                problem,
                "check workload.image, or log in: docker login; an image of this machine must be "
                "on the engine: docker image ls",
                "build it here (workload.build), or load it from a file: docker load < image.tar",
            )
    found = find_image(docker, tag)
    assert found is not None
    return _look_into(docker, tag, found)


def _build(docker: DockerClient, build: ImageBuild, progress: Progress) -> None:
    folder = cache_folder("built")
    name = build.tag.rpartition(":")[2]
    with locked(folder / f"{name}.lock", progress, "image: another run is building it"):
        progress(f"image: building {build.context}")
        file = folder / f"{name}.json"
        # Values of ARGs may be somebody's, though they are no place for secrets.
        file.touch(mode=0o600)
        file.chmod(0o600)
        file.write_text(json.dumps(build.compose_file()))
        try:
            with build.giving_secrets():
                run_build(docker, file, build.tag, progress)
        except StackError as error:
            path = build.context / build.dockerfile
            raise InputError(f"workload.build: {path}: {error.message}") from error


def _look_into(docker: DockerClient, tag: str, image: str) -> UserImage:
    """Ask an image's own Python; once, as an image of one id never changes."""
    kept = cache_folder("looked-into") / f"{image.rpartition(':')[2]}.json"
    if kept.is_file():
        return UserImage(**{**json.loads(kept.read_text()), "tag": tag})
    said = ""
    for name in _NAMES:
        # Not through python-on-whales, which lets the engine's complaints through to the terminal.
        options = ["--rm", "--network=none", "--user=65534:65534", f"--entrypoint={name}"]
        asked = subprocess.run(
            [*map(str, docker.docker_cmd), "run", *options, image, "-I", "-c", _LOOK],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode == 0:
            found = UserImage(tag=tag, id=image, **json.loads(asked.stdout.splitlines()[-1]))
            kept.write_text(json.dumps(asdict(found)))
            return found
        said = next((line for line in asked.stderr.splitlines() if line.strip()), "")
    raise InputError(
        f"the image {tag} has no Python that runs: {said.removeprefix('docker: ')}",
        "nodes need Python 3.9 or later for the sandbox's agent, which needs nothing else; "
        "install python3 in it",
    )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2])
