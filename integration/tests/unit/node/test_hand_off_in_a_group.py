"""A hand-off's process group: nobody leaves it while others have not got what was sent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from metta_sandbox.ports import HeldPort

#: A node of four: with these, the last gets it from another than rank 0. It comes late to the
#: broadcast, and says who had left by then.
NODE = """
import sys, time
from pathlib import Path
import torch.distributed as dist
from metta_sandbox.node.handoff import HandOff, SweepGroup
from metta_sandbox.node.view import NodeView

rank, port, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
values = dict.fromkeys(NodeView.__dataclass_fields__, "")
values.update(node_rank=rank, num_nodes=4, master_addr="127.0.0.1", master_port=port)
group = SweepGroup(NodeView(**values), 60)
broadcast = dist.broadcast_object_list
def late(*told, **named):
    time.sleep(1)
    (folder / "left-before").write_text(" ".join(path.name for path in folder.glob("left-?")))
    broadcast(*told, **named)
if rank == 3:
    dist.broadcast_object_list = late
got = group.hand_off(1, HandOff(1, "x.r.1", {"lr": 0.1}, "w", 1) if rank == 0 else None)
(folder / f"left-{rank}").touch()
print(got.run, got.overrides)
"""


def test_nobody_leaves_a_group_in_which_another_still_connects(tmp_path: Path) -> None:
    port = HeldPort()
    nodes = [
        subprocess.Popen(
            [sys.executable, "-c", NODE, str(rank), str(port.number), str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(4)
    ]

    told = [node.communicate(timeout=120)[0] for node in nodes]
    port.release()

    assert [text.splitlines()[-1:] for text in told] == [["x.r.1 {'lr': 0.1}"]] * 4
    assert (tmp_path / "left-before").read_text() == ""
