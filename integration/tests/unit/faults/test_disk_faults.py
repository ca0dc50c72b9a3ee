"""A disk that is full: who is asked to fill it, and what is taken for proof."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from metta_sandbox.errors import StackError
from metta_sandbox.faults.sidecars import disks_of
from metta_sandbox.scenario.faults.kinds.disk_full import DiskFullFault, FillDisk


class Node:
    """A node, and who is beside it."""

    def __init__(self) -> None:
        self.room: dict[str, Any] = {"free": 4096, "refused": ""}
        self.ordered: list[tuple[str, dict[str, Any]]] = []

    def ask(self, host: str, verb: str, **args: Any) -> Any:
        assert (host, verb, args) == ("sweep-worker", "room", {"folder": "/mnt/s3/train_dir"})
        return self.room

    def beside(self, host: str) -> Any:
        assert host == "sweep-worker"
        return SimpleNamespace(ask=lambda verb, **args: self.ordered.append((verb, args)))


def made(node: Node) -> FillDisk:
    context: Any = SimpleNamespace(ask=node.ask, disks=node, shared_folder="/mnt/s3/train_dir")
    return FillDisk("f", DiskFullFault(node="sweep-worker"), context)


def test_who_is_beside_the_node_fills_the_shared_folder_and_empties_it() -> None:
    node = Node()
    fault = made(node)

    fault.inject()
    fault.heal()

    args = {"name": "f", "folder": "/mnt/s3/train_dir"}
    assert node.ordered == [("fill", args), ("empty", args)]


@pytest.mark.parametrize(
    ("free", "refused", "well", "struck"),
    [
        (4096, "", True, False),
        (0, "ENOSPC", False, True),
        # What root may still use is no room for the node; and a file that can't be written for
        # another reason shows nothing.
        (0, "", False, False),
        (4096, "ENOSPC", False, False),
        (0, "EROFS", False, False),
    ],
)
def test_both_the_count_and_the_answer_are_the_proof(
    free: int, refused: str, well: bool, struck: bool
) -> None:
    node = Node()
    node.room = {"free": free, "refused": refused}
    fault = made(node)

    assert fault.before().holds is fault.after().holds is well
    assert fault.during().holds is struck
    assert fault.during().seen.startswith(f"{free} bytes are free on sweep-worker")


def test_nobody_is_beside_local_processes() -> None:
    stack: Any = SimpleNamespace(disks=lambda: None)
    assert disks_of(stack, ()) is None
    context: Any = SimpleNamespace(disks=None, shared_folder="/mnt")
    with pytest.raises(StackError, match="no container"):
        FillDisk("f", DiskFullFault(node="sweep-worker"), context).inject()
