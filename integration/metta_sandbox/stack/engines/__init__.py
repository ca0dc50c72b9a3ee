"""The engines that stacks run on, and which of them this machine has."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from platformdirs import user_cache_path

from metta_sandbox.errors import MachineError, SandboxError, StackError
from metta_sandbox.interrupt import uninterrupted
from metta_sandbox.progress import Progress
from metta_sandbox.stack.engines.base import Stack, StackPlan
from metta_sandbox.stack.engines.compose.pool import Keepable, Pool, Sharing
from metta_sandbox.stack.engines.process.stack import ProcessStack, with_templates
from metta_sandbox.stack.lease import Owner
from metta_sandbox.stack.marks import remove_run
from metta_sandbox.stack.provision import Provision

if TYPE_CHECKING:
    from metta_sandbox.image.node_image import Images
    from metta_sandbox.stack.engines.compose.stack import ComposeStack

#: Seconds within which an engine must answer.
_PATIENCE = 15.0
#: What 63 characters leave beside ``metta-``, a run and the longest service, sweep-worker-63.
_LONGEST_SCENARIO = 20
_START = "sudo systemctl start docker   (or: --engine process, which needs none)"
_INSTALL_COMPOSE = (
    "sudo apt-get install docker-compose-plugin   (https://docs.docker.com/compose; "
    "or: --engine process, which needs none)"
)


class Engine(Protocol):
    """Makes stacks."""

    name: str
    versions: dict[str, str]

    def prepare(self, provision: Provision, progress: Progress, *, gpu: bool) -> None:
        """Have what a scenario brings along, so that stacks find it.

        Args:
            provision: What it brings along.
            progress: Gets a line for each step.
            gpu: Whether its nodes have GPUs.

        Raises:
            InputError: A requirement or an image can't be had, or nodes can't be made of it.
            MachineError: Indexes or registries do not answer, or have nothing that fits.
            StackError: An image could not be built.

        """
        ...

    def sharing(self, run: str, wanted: Sharing) -> AbstractContextManager[None]:
        """Have what a run's stacks can share, as long as the block lasts.

        Args:
            run: The run's id.
            wanted: What they can.

        """
        ...

    def lease(self, plan: StackPlan, owner: Owner, progress: Progress) -> Stack:
        """Give a stack for a scenario. It is not up yet."""
        ...

    def give_back(self, stack: Stack, *, clean: bool) -> None:
        """Take a stack back, whatever state it is in.

        Args:
            stack: What was leased.
            clean: Whether its scenario came to its end as it should.

        """
        ...

    def remove(self, run: str) -> None:
        """Remove all that is left of a run."""
        ...


class ProcessEngine:
    """Local processes."""

    name = "process"

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}

    def prepare(self, provision: Provision, progress: Progress, *, gpu: bool) -> None:
        """Have the nodes' and the trainer's own packages; for images there is no use here."""
        from metta_sandbox.stack.engines.process.node_python import find_python  # noqa: PLC0415

        python = find_python(progress)
        if provision.requirements:
            from metta_sandbox.stack.engines.process.trainer_python import ensure_trainer_bin  # noqa: PLC0415

            ensure_trainer_bin(python, provision.requirements, progress, gpu=gpu)

    def sharing(self, run: str, wanted: Sharing) -> AbstractContextManager[None]:
        """Import torch once for all stacks of a run, where the system lets a fork pass for more."""
        from metta_sandbox.stack.engines.process.node_python import find_python  # noqa: PLC0415

        if wanted.nodes == 0 or sys.platform != "linux":
            return nullcontext()
        try:
            return with_templates(run, find_python(lambda _: None), wanted.nodes)
        except SandboxError:  # which each scenario will tell by itself
            return nullcontext()

    def lease(self, plan: StackPlan, owner: Owner, progress: Progress) -> Stack:  # noqa: ARG002
        """Give a stack for a scenario."""
        # Docker's packages are not needed here, nor the other way round.
        from metta_sandbox.stack.engines.process.node_python import find_python  # noqa: PLC0415

        return ProcessStack(plan, find_python(progress))

    def give_back(self, stack: Stack, *, clean: bool) -> None:  # noqa: ARG002
        """Take a stack back."""
        stack.down()

    def remove(self, run: str) -> None:
        """Remove all that is left of a run."""
        remove_run(run)


def project_name(run: str, scenario: str) -> str:
    """Name the Compose project of a scenario, short enough for its containers to be looked up.

    A container's name is its host's in the engine's DNS, where a label has 63 characters at most
    (RFC 1035); of one that is longer, every look-up of an address's name ends in a time-out.
    """
    if len(scenario) > _LONGEST_SCENARIO:
        digest = hashlib.sha256(scenario.encode()).hexdigest()[:4]
        scenario = f"{scenario[: _LONGEST_SCENARIO - 5].rstrip('-')}-{digest}"
    return f"metta-{run}-{scenario}".lower()


@dataclass(frozen=True)
class _Kept:
    """The stacks that a run keeps, how many nodes have a template, and what is known of them."""

    pool: Pool
    templates: int
    known: dict[str, list[str]]


class ComposeEngine:
    """Containers, through Docker Compose.

    Args:
        versions: Of ``docker`` and ``compose``.

    """

    name = "compose"

    def __init__(self, versions: dict[str, str]) -> None:
        self.versions = versions
        self._kept: _Kept | None = None

    @cached_property
    def _images(self) -> Images:
        from metta_sandbox.image.node_image import Images  # noqa: PLC0415

        return Images()

    def prepare(self, provision: Provision, progress: Progress, *, gpu: bool) -> None:
        """Have the images that nodes are made of."""
        from python_on_whales import DockerClient  # noqa: PLC0415

        from metta_sandbox.image.node_image import ImageSpec  # noqa: PLC0415
        from metta_sandbox.stack.engines.compose.node_of import node_image  # noqa: PLC0415

        docker, spec = DockerClient(), ImageSpec(gpu=gpu)
        node_image(docker, self._images.ensure(spec, progress, docker), spec, provision, progress)

    @contextmanager
    def sharing(self, run: str, wanted: Sharing) -> Iterator[None]:  # noqa: ARG002
        """Keep containers for those scenarios of a run that can follow each other there."""
        if wanted.scenarios < 2:  # noqa: PLR2004 - one after another
            yield
            return
        pool = Pool(wanted)
        self._kept = _Kept(pool, wanted.nodes, {})
        try:
            yield
        finally:
            self._kept = None
            with uninterrupted():
                pool.close()

    def lease(self, plan: StackPlan, owner: Owner, progress: Progress) -> Stack:
        """Give a stack for a scenario: a Compose project of its own, or one that is kept."""
        own = self._containers(plan, owner)
        kept = self._kept
        if kept is None:
            return own
        if plan.apart:
            progress(f"its nodes are its own: {plan.apart}")
            return own
        from metta_sandbox.stack.engines.compose.kept import KeptStack  # noqa: PLC0415
        from metta_sandbox.stack.engines.compose.shared import SharedStack, folder_of  # noqa: PLC0415

        def make(number: int) -> KeptStack:
            folder = folder_of(plan, number)
            folder.mkdir(parents=True)
            # No scenario has a name like this one.
            made_for = replace(plan, scenario=f"stack_{number}", folder=folder)
            inner = self._containers(made_for, owner, kept.templates)
            ours = plan.provision.bundled_rollout
            return KeptStack(inner, folder, plan.hosts, kept.known, bundled_rollout=ours)

        return SharedStack(plan, kept.pool, make, own)

    def _containers(self, plan: StackPlan, owner: Owner, kept: int | None = None) -> ComposeStack:
        from metta_sandbox.image.node_image import ImageSpec  # noqa: PLC0415
        from metta_sandbox.stack.engines.compose.stack import ComposeStack  # noqa: PLC0415

        project = "metta" if plan.standing else project_name(plan.run, plan.scenario)
        agents = Path(user_cache_path("metta-sandbox")) / "agents"
        spec = ImageSpec(gpu=plan.hardware == "gpu")
        return ComposeStack(plan, owner, project, spec, agents, self._images, kept)

    def give_back(self, stack: Stack, *, clean: bool) -> None:
        """Take a stack back."""
        if clean and isinstance(stack, Keepable):
            stack.hand_on()
        else:
            stack.down()

    def remove(self, run: str) -> None:
        """Remove all that is left of a run."""
        from metta_sandbox.stack.engines.compose.stack import remove_containers  # noqa: PLC0415

        remove_containers(run)


def remove_everywhere(engine: Engine, run: str, played_on: str = "") -> None:
    """Remove all that is left of a run, which may have been played on another engine.

    Args:
        engine: What is played on now.
        run: The run's id.
        played_on: What the run was played on, if that is known.

    Raises:
        StackError: What it left can't be removed, or it was played in containers and their engine
            does not answer.

    """
    # First of all those who might make more of it.
    ProcessEngine().remove(run)
    if played_on == "process":
        return
    try:
        containers = engine if isinstance(engine, ComposeEngine) else find_compose()
    except MachineError as error:
        if played_on == "compose":
            raise StackError(
                f"what the run {run} left in containers can't be removed: {error.message}",
                "start the engine, then: metta-sandbox clean",
            ) from None
        return
    containers.remove(run)


def choose(wanted: str, *, ci: bool, notice: Progress) -> Engine:
    """Choose the engine to play on.

    Args:
        wanted: ``auto``, ``compose`` or ``process``.
        ci: Whether this is a CI job, where ``auto`` never falls back.
        notice: Gets one line when ``auto`` falls back to local processes.

    Raises:
        MachineError: There is no engine, or no Compose v2, where one is needed.

    """
    if wanted == "process":
        return ProcessEngine()
    try:
        docker = _docker_version()
    except MachineError as error:
        if wanted == "auto" and not ci:
            notice(f"{error.message}: playing on local processes instead (--engine process)")
            return ProcessEngine()
        raise
    return _compose(docker)


def find_compose() -> ComposeEngine:
    """Return the engine for containers.

    Raises:
        MachineError: No engine answers, or it has no Compose v2.

    """
    return _compose(_docker_version())


def _compose(docker: str) -> ComposeEngine:
    return ComposeEngine({"docker": docker, "compose": _compose_version()})


def _docker_version() -> str:
    if shutil.which("docker") is None:
        raise MachineError(
            "no Docker client is installed", "https://docs.docker.com/engine/install"
        )
    said = _ask(["docker", "version", "--format", "{{json .Server.Version}}"])
    if said.returncode == 0:
        return str(json.loads(said.stdout))
    words = said.stderr.strip()
    if "permission denied" in words:
        raise MachineError(
            "this user may not talk to the Docker engine", "sudo usermod -aG docker $USER"
        )
    raise MachineError(
        f"no Docker engine answers ({words.splitlines()[-1] if words else '?'})", _START
    )


def _compose_version() -> str:
    said = _ask(["docker", "compose", "version", "--short"])
    version = said.stdout.strip().lstrip("v")
    if said.returncode != 0 or not version:
        old = ", only docker-compose v1" if shutil.which("docker-compose") else ""
        raise MachineError(f"Docker has no Compose v2 plugin{old}", _INSTALL_COMPOSE)
    if version.startswith(("0.", "1.")):
        raise MachineError(f"Docker Compose is {version}; 2 or newer is needed", _INSTALL_COMPOSE)
    return version


def _ask(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise MachineError(
            f"the Docker engine does not answer: {command[1]} took over {_PATIENCE:g} s",
            _START,
        ) from None
