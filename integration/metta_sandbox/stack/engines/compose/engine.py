"""The engine whose nodes are containers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from python_on_whales import DockerClient

from metta_sandbox.image.node_image import ImageSpec, KnownImages
from metta_sandbox.interrupt import uninterrupted
from metta_sandbox.progress import Progress
from metta_sandbox.scenario.abilities import Ability
from metta_sandbox.stack.engines.base import Engine, Sharing, Stack, StackPlan
from metta_sandbox.stack.engines.compose.kept import KeptStack
from metta_sandbox.stack.engines.compose.leftovers import made_on_engine, remove_containers
from metta_sandbox.stack.engines.compose.node_of import node_image
from metta_sandbox.stack.engines.compose.pool import Pool
from metta_sandbox.stack.engines.compose.shared import SharedStack, folder_of
from metta_sandbox.stack.engines.compose.stack import ComposeStack
from metta_sandbox.stack.engines.compose.view import ContainersView, strangers
from metta_sandbox.stack.engines.view import StackView
from metta_sandbox.stack.lease import Owner
from metta_sandbox.stack.lost import RunTraces
from metta_sandbox.stack.provision import Provision
from metta_sandbox.stack.standing_record import PROJECT, StandingRecord

#: What 63 characters leave beside ``metta-``, a run and the longest service, sweep-worker-63.
_LONGEST_SCENARIO = 20


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


class ComposeEngine(Engine):
    """Containers, through Docker Compose.

    Args:
        versions: Of ``docker`` and ``compose``.

    """

    name = "compose"
    nodes = "containers"
    has = frozenset(Ability)

    def __init__(self, versions: Mapping[str, str] | None = None) -> None:
        super().__init__(versions)
        self._images = KnownImages()
        self._kept: _Kept | None = None

    def prepare(self, provision: Provision, progress: Progress, *, gpu: bool) -> None:
        """Build or pull the images that nodes are made of."""
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
        """Return a stack for a scenario: a Compose project of its own, or one that is kept."""
        own = self._containers(plan, owner)
        kept = self._kept
        if kept is None:
            return own
        if plan.apart:
            progress(f"its nodes are its own: {plan.apart}")
            return own

        def make(number: int) -> KeptStack:
            folder = folder_of(plan, number)
            folder.mkdir(parents=True)
            # No scenario has a name like this one.
            made_for = replace(plan, scenario=f"stack_{number}", folder=folder)
            inner = self._containers(made_for, owner, kept.templates)
            return KeptStack(inner, made_for, kept.known)

        return SharedStack(plan, kept.pool, make, own)

    def _containers(self, plan: StackPlan, owner: Owner, kept: int | None = None) -> ComposeStack:
        project = PROJECT if plan.standing else project_name(plan.run, plan.scenario)
        return ComposeStack(plan, owner, project, self._images, kept)

    def give_back(self, stack: Stack, *, clean: bool) -> None:
        """Take a leased stack back: keep it for the next scenario, or remove it."""
        if clean and isinstance(stack, SharedStack):
            stack.hand_on()
        else:
            stack.down()

    def made(self) -> dict[str, RunTraces]:
        """Find the containers, networks and volumes of runs."""
        return made_on_engine()

    def remove(self, run: str) -> None:
        """Remove the containers, networks and volumes of a run."""
        remove_containers(run)

    def strangers(self) -> tuple[str, ...]:
        """Name containers that Compose would take for those of our standing stack."""
        return strangers()

    def view(self, record: StandingRecord) -> StackView:
        """Return what looks at the standing stack's containers."""
        return ContainersView(record)
