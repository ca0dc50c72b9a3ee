"""The faults of a scenario while it is played; of one without any, nothing at all."""

from __future__ import annotations

from collections.abc import Sequence

from metta_sandbox.faults.conductor import Conductor
from metta_sandbox.faults.disk import disks_of
from metta_sandbox.faults.ground import Ground
from metta_sandbox.faults.network import sides_of
from metta_sandbox.faults.power import power_over
from metta_sandbox.play.job import Job
from metta_sandbox.play.nodes import Nodes
from metta_sandbox.progress import Progress
from metta_sandbox.report.results import CheckResult, FaultResult
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.stack.base import Stack, StackPlan
from metta_sandbox.stack.disk_side import DiskSides
from metta_sandbox.stack.link import HubLink
from metta_sandbox.stack.network_side import NetworkSides
from metta_sandbox.timeline.recording import Timeline


class Strikes:
    """A scenario's faults, from before its sweep until all is told."""

    def __init__(self) -> None:
        self._conductor: Conductor | None = None
        self._network: NetworkSides | None = None
        self._disks: DiskSides | None = None
        self.results: tuple[FaultResult, ...] = ()
        self.checks: tuple[CheckResult, ...] = ()

    @property
    def late_nodes(self) -> Sequence[str]:
        """The nodes on which the sweep's command is not started with the others."""
        return self._conductor.late_nodes if self._conductor else ()

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
        link: HubLink,
        nodes: Nodes,
        job: Job,
        timeline: Timeline,
        progress: Progress,
    ) -> None:
        """Arm what faults wait for, if there are any, before the sweep starts."""
        if not scenario.faults:
            return
        self._network = sides_of(stack, scenario.faults)
        self._disks = disks_of(stack, scenario.faults)
        ground = Ground(
            scenario,
            plan,
            link,
            power_over(stack, plan),
            start_on=lambda host: nodes.start_on(host, job),
            network=self._network,
            disks=self._disks,
        )
        self._conductor = nodes.listener = Conductor(ground, timeline, progress)
        self._conductor.prepare()

    def began(self) -> None:
        """Take in that the sweep has started."""
        if self._conductor:
            self._conductor.began()

    def heal(self) -> None:
        """Heal whatever lasts, while everything is still there."""
        try:
            if self._conductor:
                self._conductor.heal()
        finally:
            for sides in (self._network, self._disks):
                if sides:
                    sides.close()

    def conclude(self) -> None:
        """Take what became of each fault, once everything was heard of it."""
        if self._conductor:
            self.results, self.checks = self._conductor.conclude()
