"""What this machine must have. Pure: from what was read to lines of the report."""

from __future__ import annotations

from metta_sandbox.doctor import mend
from metta_sandbox.doctor.engine_checks import GB, MEMORY_COMFORTABLE
from metta_sandbox.doctor.item import Finding, Status
from metta_sandbox.doctor.machine import Machine, known
from metta_sandbox.doctor.read_host import Packages, PythonFound


def memory(machine: Machine) -> Finding:
    """Judge this machine's memory, which local processes share."""
    found = machine.memory()
    shown = f"{found.total / GB:.1f} GB"
    if found.available is not None:
        shown += f", {found.available / GB:.1f} GB available"
    usable = found.total if found.available is None else min(found.total, found.available)
    if usable >= MEMORY_COMFORTABLE:
        return Finding(Status.OK, shown)
    return Finding(Status.WARNING, shown, "end what else takes memory")


def packages(machine: Machine) -> Finding:
    """Judge where the nodes' packages come from."""
    found = machine.packages()
    source = f"{found.pip}, from {', '.join(found.sources) or 'nowhere'}"
    if found.made:
        return Finding(Status.OK, f"fetched already (by {source})")
    if found.pip:
        return Finding(Status.OK, f"not fetched yet; the first run does, by {source}")
    if machine.image_is_built:
        return Finding(Status.OK, "not here, but in the node image")
    return Finding(Status.MISSING, "no pip to fetch them", "python3 -m ensurepip --upgrade")


def python(machine: Machine) -> Finding:
    """Judge the Python for nodes that are local processes; nodes on Docker bring their own."""
    found = machine.python()
    if found.complete:
        return Finding(Status.OK, f"{found.here}, with all that a node imports")
    if found.suitable:
        made_with = f"an environment for nodes is made with {found.suitable}"
        return Finding(Status.OK, f"{found.here}; {made_with}")
    return Finding(Status.WARNING, found.here, mend.python(machine.host))


def stacks(machine: Machine) -> Finding:
    """Judge whether an autopsy sees where the programs of local processes stand."""
    found = machine.stacks()
    if not found.python:
        return Finding(Status.OK, "py-spy comes with the nodes' environment")
    if not found.problem:
        return Finding(Status.OK, "py-spy reads them")
    if "not there" in found.problem:
        return Finding(Status.WARNING, found.problem, f"{found.python} -m pip install py-spy")
    allow = mend.as_root(machine.host, "sysctl -w kernel.yama.ptrace_scope=1")
    return Finding(Status.WARNING, found.problem, allow)


def plays_on_processes(machine: Machine) -> bool:
    """Tell whether scenarios can be played without Docker."""
    python = known(machine.python, PythonFound("", complete=False, suitable=""))
    packages = known(machine.packages, Packages(made=False, pip=""))
    return python.complete or bool(python.suitable and (packages.made or packages.pip))
