"""The faults of a scenario while it is played; of one without any, nothing at all."""

from __future__ import annotations

from collections.abc import Sequence

from metta_sandbox.faults.context import FaultContext
from metta_sandbox.faults.scheduler import FaultScheduler
from metta_sandbox.faults.sidecars import disks_of, sidecars_of
from metta_sandbox.play.job import Job
from metta_sandbox.play.nodes import Nodes
from metta_sandbox.progress import Progress
from metta_sandbox.report.results import CheckResult, FaultResult
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.stack.engines.base import Stack, StackPlan
from metta_sandbox.stack.engines.sidecars import Sidecars


class Strikes:
    """A scenario's faults, from before its sweep until all is told."""

    def __init__(self) -> None:
        self._scheduler: FaultScheduler | None = None
        self._network: Sidecars | None = None
        self._disks: Sidecars | None = None
        self.results: tuple[FaultResult, ...] = ()
        self.checks: tuple[CheckResult, ...] = ()

    @property
    def late_nodes(self) -> Sequence[str]:
        """The nodes on which the sweep's command is not started with the others."""
        return self._scheduler.late_nodes if self._scheduler else ()

    @property
    def unproven(self) -> str:
        """What was not shown to have happened, in words; empty if all was."""
        told = (f"{each.name} ({each.proof})" for each in self.results if not each.proven)
        return "; ".join(told)

    def prepare(
        self,
        scenario: Scenario,
        plan: StackPlan,
        stack: Stack,
        nodes: Nodes,
        job: Job,
        progress: Progress,
    ) -> None:
        """Arm what faults wait for, if there are any, before the sweep starts."""
        if not scenario.faults:
            return
        self._network = sidecars_of(stack, scenario.faults)
        self._disks = disks_of(stack, scenario.faults)
        context = FaultContext(
            scenario,
            plan,
            nodes.link,
            stack.power(),
            start_on=lambda host: nodes.start_on(host, job),
            network=self._network,
            disks=self._disks,
        )
        self._scheduler = nodes.listener = FaultScheduler(context, nodes.timeline, progress)
        self._scheduler.prepare()

    def began(self) -> None:
        """Take in that the sweep has started."""
        if self._scheduler:
            self._scheduler.began()

    def heal(self) -> None:
        """Heal whatever lasts, while everything is still there."""
        try:
            if self._scheduler:
                self._scheduler.heal()
        finally:
            for sidecars in (self._network, self._disks):
                if sidecars:
                    sidecars.close()

    def conclude(self) -> None:
        """Take what became of each fault, once everything was heard of it."""
        if self._scheduler:
            self.results, self.checks = self._scheduler.conclude()
