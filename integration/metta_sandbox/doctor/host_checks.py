"""What this machine must have. Pure: from what was read to lines of the report."""

from __future__ import annotations

from metta_sandbox.doctor import mend
from metta_sandbox.doctor.engine_checks import GB, MEMORY_COMFORTABLE
from metta_sandbox.doctor.item import MachineFinding, Status
from metta_sandbox.doctor.machine import Machine, known
from metta_sandbox.doctor.read_host import Packages, PythonFound


def memory(machine: Machine) -> MachineFinding:
    """Judge this machine's memory, which local processes share."""
    found = machine.memory()
    shown = f"{found.total / GB:.1f} GB"
    if found.available is not None:
        shown += f", {found.available / GB:.1f} GB available"
    usable = found.total if found.available is None else min(found.total, found.available)
    if usable >= MEMORY_COMFORTABLE:
        return MachineFinding(Status.OK, shown)
    return MachineFinding(Status.WARNING, shown, "end what else takes memory")


def packages(machine: Machine) -> MachineFinding:
    """Judge where the nodes' packages come from."""
    found = machine.packages()
    source = f"{found.pip}, from {', '.join(found.sources) or 'nowhere'}"
    if found.made:
        return MachineFinding(Status.OK, f"fetched already (by {source})")
    if found.pip:
        return MachineFinding(Status.OK, f"not fetched yet; the first run does, by {source}")
    if machine.image_is_built:
        return MachineFinding(Status.OK, "not here, but in the node image")
    return MachineFinding(Status.MISSING, "no pip to fetch them", "python3 -m ensurepip --upgrade")


def python(machine: Machine) -> MachineFinding:
    """Judge the Python for nodes that are local processes; nodes on Docker bring their own."""
    found = machine.python()
    if found.complete:
        return MachineFinding(Status.OK, f"{found.here}, with all that a node imports")
    if found.suitable:
        made_with = f"an environment for nodes is made with {found.suitable}"
        return MachineFinding(Status.OK, f"{found.here}; {made_with}")
    return MachineFinding(Status.WARNING, found.here, mend.python(machine.host))


def stacks(machine: Machine) -> MachineFinding:
    """Judge whether an autopsy sees where the programs of local processes stand."""
    found = machine.stacks()
    if not found.python:
        return MachineFinding(Status.OK, "py-spy comes with the nodes' environment")
    if not found.problem:
        return MachineFinding(Status.OK, "py-spy reads them")
    if "not there" in found.problem:
        return MachineFinding(
            Status.WARNING, found.problem, f"{found.python} -m pip install py-spy"
        )
    allow = mend.as_root(machine.host, "sysctl -w kernel.yama.ptrace_scope=1")
    return MachineFinding(Status.WARNING, found.problem, allow)


def plays_on_processes(machine: Machine) -> bool:
    """Tell whether scenarios can be played without Docker."""
    python = known(machine.python, PythonFound("", complete=False, suitable=""))
    packages = known(machine.packages, Packages(made=False, pip=""))
    return python.complete or bool(python.suitable and (packages.made or packages.pip))
