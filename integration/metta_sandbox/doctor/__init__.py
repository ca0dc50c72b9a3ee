"""Can this machine play scenarios, and how to mend what can't."""

from __future__ import annotations

from collections.abc import Iterator

from metta_sandbox.doctor import host_checks
from metta_sandbox.doctor.checks import CHECKS
from metta_sandbox.doctor.item import DoctorItem, DoctorReport, MachineFinding, Status
from metta_sandbox.doctor.machine import Machine, look
from metta_sandbox.doctor.probe import Deadline, ProbeError
from metta_sandbox.doctor.show import show

__all__ = ["DoctorItem", "DoctorReport", "Status", "examine", "judge", "show"]

#: Seconds until the report is there, whatever does not answer.
PATIENCE = 4.5


def examine(patience: float = PATIENCE) -> DoctorReport:
    """Look at this machine, for so many seconds at the most, and judge it."""
    return judge(look(Deadline(patience)))


def judge(machine: Machine) -> DoctorReport:
    """Do every check; what a check needs and can't be read makes its line unknown."""
    return DoctorReport(tuple(_items(machine)), host_checks.plays_on_processes(machine))


def _items(machine: Machine) -> Iterator[DoctorItem]:
    for check in CHECKS:
        try:
            finding = check.judge(machine)
        except ProbeError as error:
            finding = MachineFinding(Status.UNKNOWN, str(error))
        if finding is not None:
            yield DoctorItem(check.name, finding.status, finding.found, check.needed, finding.mend)
