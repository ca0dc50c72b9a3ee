"""What this machine must have. Pure: from what was read to lines of the report."""

from __future__ import annotations

from metta_sandbox.doctor import mend
from metta_sandbox.doctor.item import Item, Status, Unknown
from metta_sandbox.doctor.judge_engine import GB, MEMORY_COMFORTABLE
from metta_sandbox.doctor.read_engine import Images
from metta_sandbox.doctor.read_host import Host, Memory, Packages, Python, Stacks


def memory(found: Memory | Unknown) -> Item:
    """Judge this machine's memory, which local processes share."""
    needed = f"{MEMORY_COMFORTABLE / GB:g} GB for nodes that are local processes"
    if isinstance(found, Unknown):
        return Item.unknown("memory", found, needed)
    shown = f"{found.total / GB:.1f} GB"
    if found.available is not None:
        shown += f", {found.available / GB:.1f} GB available"
    usable = found.total if found.available is None else min(found.total, found.available)
    if usable >= MEMORY_COMFORTABLE:
        return Item("memory", Status.OK, shown, needed)
    return Item("memory", Status.WARNING, shown, needed, "end what else takes memory")


def packages(found: Packages | Unknown, images: Images | Unknown) -> Item:
    """Judge where the nodes' packages come from."""
    name, needed = "packages", "the nodes' wheels, or a pip that fetches them"
    if isinstance(found, Unknown):
        return Item.unknown(name, found, needed)
    source = f"{found.pip}, from {', '.join(found.sources) or 'nowhere'}"
    if found.made:
        return Item(name, Status.OK, f"fetched already (by {source})", needed)
    if found.pip:
        return Item(name, Status.OK, f"not fetched yet; the first run does, by {source}", needed)
    built = isinstance(images, Images) and images.built
    if built:
        return Item(name, Status.OK, "not here, but in the node image", needed)
    return Item(
        name, Status.MISSING, "no pip to fetch them", needed, "python3 -m ensurepip --upgrade"
    )


def python(found: Python | Unknown, host: Host) -> Item:
    """Judge the Python for nodes that are local processes; nodes on Docker bring their own."""
    needed = "Python 3.11 or 3.12 for nodes that are local processes (--engine process)"
    if isinstance(found, Unknown):
        return Item.unknown("python", found, needed)
    if found.complete:
        return Item("python", Status.OK, f"{found.here}, with all that a node imports", needed)
    if found.suitable:
        shown = f"{found.here}; an environment for nodes is made with {found.suitable}"
        return Item("python", Status.OK, shown, needed)
    return Item("python", Status.WARNING, found.here, needed, mend.python(host))


def stacks(found: Stacks | Unknown, host: Host) -> Item:
    """Judge whether an autopsy sees where the programs of local processes stand."""
    name, needed = "stacks", "py-spy, to see where programs of local processes hang"
    if isinstance(found, Unknown):
        return Item.unknown(name, found, needed)
    if not found.python:
        return Item(name, Status.OK, "py-spy comes with the nodes' environment", needed)
    if not found.problem:
        return Item(name, Status.OK, "py-spy reads them", needed)
    cure = f"{found.python} -m pip install py-spy"
    if "not there" not in found.problem:
        cure = mend.as_root(host, "sysctl -w kernel.yama.ptrace_scope=1")
    return Item(name, Status.WARNING, found.problem, needed, cure)


def plays_on_processes(python: Python | Unknown, packages: Packages | Unknown) -> bool:
    """Tell whether scenarios can be played without Docker."""
    if isinstance(python, Unknown):
        return False
    fetched = isinstance(packages, Packages) and (packages.made or bool(packages.pip))
    return python.complete or bool(python.suitable and fetched)
