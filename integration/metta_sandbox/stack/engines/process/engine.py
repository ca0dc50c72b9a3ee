"""The engine whose nodes are local processes."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext

from metta_sandbox.errors import SandboxError
from metta_sandbox.progress import Progress
from metta_sandbox.scenario.abilities import Ability
from metta_sandbox.stack.engines.base import Engine, Sharing, Stack, StackPlan
from metta_sandbox.stack.engines.process.node_python import find_python
from metta_sandbox.stack.engines.process.stack import ProcessStack, with_templates
from metta_sandbox.stack.engines.process.trainer_python import ensure_trainer_bin
from metta_sandbox.stack.engines.process.view import ProcessesView
from metta_sandbox.stack.engines.view import StackView
from metta_sandbox.stack.lease import Owner
from metta_sandbox.stack.provision import Provision
from metta_sandbox.stack.standing_record import StandingRecord


class ProcessEngine(Engine):
    """Local processes."""

    name = "process"
    nodes = "local processes"
    has = frozenset({Ability.GPUS, Ability.STANDING})

    def prepare(self, provision: Provision, progress: Progress, *, gpu: bool) -> None:
        """Have the nodes' and the trainer's own packages; for images there is no use here."""
        python = find_python(progress)
        if provision.requirements:
            ensure_trainer_bin(python, provision.requirements, progress, gpu=gpu)

    def sharing(self, run: str, wanted: Sharing) -> AbstractContextManager[None]:
        """Import torch once for all stacks of a run, where the system lets a fork pass for more."""
        if wanted.nodes == 0 or sys.platform != "linux":
            return nullcontext()
        try:
            return with_templates(run, find_python(lambda _: None), wanted.nodes)
        except SandboxError:  # which each scenario will tell by itself
            return nullcontext()

    def lease(self, plan: StackPlan, owner: Owner, progress: Progress) -> Stack:  # noqa: ARG002
        """Return a stack of local processes for a scenario."""
        return ProcessStack(plan, find_python(progress))

    def view(self, record: StandingRecord) -> StackView:
        """Return what looks at the standing stack's processes."""
        return ProcessesView(record)
