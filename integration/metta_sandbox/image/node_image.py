"""The node image: there already, or built from base, wheelhouse and our own code."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from python_on_whales import DockerClient
from python_on_whales.exceptions import DockerException, NoSuchContainer, NoSuchImage

from metta_sandbox.errors import MachineError, StackError
from metta_sandbox.image import base_image, wheelhouse
from metta_sandbox.image.host_cache import cache_folder, locked
from metta_sandbox.image.image_context import (
    KIND_LABEL,
    REPOSITORY,
    TRAINER_REPOSITORY,
    UID_LABEL,
    BuildInputs,
    NodeUser,
    read_sources,
    stage,
    unused_tags,
)
from metta_sandbox.image.node_platform import NodePlatform
from metta_sandbox.progress import Progress
from metta_sandbox.resources import compose_folder, package_folder

_KEPT_LINES = 30

#: How BuildKit's plain output heads a step: ``#7 [node 3/7] RUN …``.
_STEP = re.compile(r"#\d+ \[(?:\w+ )?(\d+/\d+)\] (\w+)")


@dataclass(frozen=True)
class ImageSpec:
    """What a node image is to be like.

    Args:
        base_image: The Dockerfile's ``BASE_IMAGE``.
        requirements: Packages beyond our own, as PEP 508 requirements.
        gpu: Whether CUDA builds are wanted (``+hardware=gpu``).
        python: The nodes' Python, major and minor.
        user: Who runs in a node.
        package: The folder of our own sources.
        interpreter: The Python of a base image that is the user's, beside whose own environment
            ours is put; empty: the image is ours.

    """

    base_image: str = base_image.DEFAULT_BASE_IMAGE
    requirements: tuple[str, ...] = ()
    gpu: bool = False
    python: str = "3.11"
    user: NodeUser = field(default_factory=NodeUser.of_caller)
    package: Path = field(default_factory=package_folder)
    interpreter: str = ""

    @property
    def dockerfile(self) -> Path:
        """The Dockerfile that builds it."""
        return compose_folder() / ("foreign.Dockerfile" if self.interpreter else "Dockerfile")

    def wheels(self, platform: NodePlatform) -> wheelhouse.WheelSpec:
        """Return what its wheelhouse is to hold."""
        return wheelhouse.WheelSpec.for_nodes(
            platform,
            compose_folder() / "constraints.txt",
            further=self.requirements,
            gpu=self.gpu,
        )


@dataclass(frozen=True)
class Image:
    """A node image that is on the engine.

    Args:
        tag: Its name, made of its content.
        id: The engine's name of its content.
        base: The base image it stands on.
        wheelhouse_key: Names the packages in it.
        built: Whether it was built just now.
        seconds: What each phase took: ``look``, and when built ``base``, ``wheelhouse``, ``build``.

    """

    tag: str
    id: str
    base: str
    wheelhouse_key: str
    built: bool
    seconds: dict[str, float]


def ensure_image(spec: ImageSpec, progress: Progress, docker: DockerClient | None = None) -> Image:
    """Return the node image, building what of it is not there.

    Raises:
        MachineError: This machine can't: no base image, no pip, only CUDA wheels.
        InputError: The user's base image does not exist.
        StackError: The build failed; its last lines are in the message.

    """
    docker = DockerClient() if docker is None else docker
    started = time.perf_counter()
    platform = node_platform(docker, spec)
    wheels = spec.wheels(platform)
    base = base_image.find_base(docker, spec.base_image, platform)
    seconds = {"look": time.perf_counter() - started}
    if base is None:
        base = base_image.ensure_base(docker, spec.base_image, platform, progress)
        seconds["base"] = base.seconds
    inputs = build_inputs(spec, base, wheels.key)
    (cache_folder("images") / inputs.tag.rpartition(":")[2]).touch()
    found = find_image(docker, inputs.tag)
    if found is None:
        house = wheelhouse.ensure(wheels, progress)
        seconds["wheelhouse"] = house.seconds
        building = time.perf_counter()
        found = _build(docker, inputs, house.path, progress)
        seconds["build"] = time.perf_counter() - building
        prune(docker, spec.user)
    return Image(inputs.tag, found, base.name, wheels.key, "build" in seconds, seconds)


class KnownImages:
    """Node images, each looked for in full once; from then on only whether it is still there.

    Stacks that share one of these are of the same image, also when sources change meanwhile.
    """

    def __init__(self) -> None:
        self._known: dict[ImageSpec, Image] = {}

    def ensure(self, spec: ImageSpec, progress: Progress, docker: DockerClient) -> Image:
        """Do what ``ensure_image`` does, sooner where it was done before."""
        started = time.perf_counter()
        known = self._known.get(spec)
        if known is None or find_image(docker, known.tag) != known.id:
            self._known[spec] = ensure_image(spec, progress, docker)
            return self._known[spec]
        return replace(known, built=False, seconds={"look": time.perf_counter() - started})


def node_platform(docker: DockerClient, spec: ImageSpec) -> NodePlatform:
    """Return the Python and the architecture of an engine's nodes.

    Raises:
        MachineError: No engine answers, or it is on a machine that nothing is for.

    """
    return NodePlatform.of_engine(_architecture(docker), spec.python)


def _architecture(docker: DockerClient) -> str:
    try:
        return docker.system.info().architecture or "an unknown machine"
    except DockerException as error:
        raise MachineError(
            f"No Docker engine answers: {(error.stderr or str(error)).strip()}",
            "start one (sudo systemctl start docker), or use --engine process",
        ) from error


def build_inputs(spec: ImageSpec, base: base_image.BaseImage, key: str) -> BuildInputs:
    """Gather what an image's content, and so its tag, depends on.

    Args:
        spec: The image wanted.
        base: What it stands on.
        key: Names the wheelhouse.

    """
    return BuildInputs(
        base_image=base.name,
        base_id=base.id,
        wheelhouse_key=key,
        python=spec.python,
        user=spec.user,
        sources=tuple(read_sources(spec.package)),
        dockerfile=spec.dockerfile.read_text(),
        interpreter=spec.interpreter,
    )


def find_image(docker: DockerClient, tag: str) -> str | None:
    """Return the id of an image that is on the engine, or None."""
    try:
        return docker.image.inspect(tag).id
    except NoSuchImage:
        return None


def _build(docker: DockerClient, inputs: BuildInputs, wheels: Path, progress: Progress) -> str:
    cache = cache_folder()
    # One folder for all builds: BuildKit then sends only what has changed in it.
    with locked(cache / "build.lock", progress, "image: another run is building one"):
        found = find_image(docker, inputs.tag)
        if found is not None:
            return found
        progress(f"image: building {inputs.tag}")
        compose_file = stage(cache / "build", inputs, wheels)
        run_build(docker, compose_file, inputs.tag, progress)
    return docker.image.inspect(inputs.tag).id


def run_build(docker: DockerClient, compose_file: Path, tag: str, progress: Progress) -> None:
    """Build the service ``node`` of a Compose file; Compose has BuildKit where Buildx is missing.

    Raises:
        StackError: It failed; its last lines are in the message.

    """
    builder = DockerClient(
        client_call=docker.client_config.client_call,
        context=docker.client_config.context,
        host=docker.client_config.host,
        compose_files=[compose_file],
        compose_project_name="metta-sandbox-build",
    )
    tail: list[str] = []
    try:
        for _, raw in builder.compose.build(services=["node"], stream_logs=True):
            line = raw.decode(errors="replace").rstrip()
            tail = [*tail[1 - _KEPT_LINES :], line]
            if step := _STEP.match(line):
                progress(f"image: step {step[1]} {step[2]}")
    except DockerException as error:
        lines = "\n".join(f"  {line}" for line in tail)
        raise StackError(f"The image {tag} could not be built:\n{lines}") from error


def prune(docker: DockerClient, user: NodeUser, now: float | None = None) -> list[str]:
    """Remove this user's older node images that nothing uses, and return their tags."""
    asked = cache_folder("images")
    images = {}
    for image in docker.image.list(
        filters=[("label", f"{KIND_LABEL}=image"), ("label", f"{UID_LABEL}={user.uid}")]
    ):
        # Another run may remove it while we look; containers, too.
        with suppress(NoSuchImage):
            for tag in image.repo_tags:
                if tag.startswith((f"{REPOSITORY}:", f"{TRAINER_REPOSITORY}:")):
                    images[tag] = _last_asked(asked, tag, image.created.timestamp())
    containers = []
    for one in docker.container.list(all=True):
        with suppress(NoSuchContainer):
            containers.append(str(one.config.image))
    removed = []
    for tag in unused_tags(images, containers, time.time() if now is None else now):
        try:
            docker.image.remove(tag)
        except DockerException:
            # Somebody has started to use it since, or has removed it first.
            continue
        (asked / tag.rpartition(":")[2]).unlink(missing_ok=True)
        removed.append(tag)
    return removed


def _last_asked(folder: Path, tag: str, created: float) -> float:
    try:
        return (folder / tag.rpartition(":")[2]).stat().st_mtime
    except FileNotFoundError:
        return created
