"""Lets an autopsy read which collectives a rank has entered, and where its own code did so.

PyTorch notes that itself, in a ring of its own, for Gloo as for NCCL (its Flight Recorder; see
https://docs.pytorch.org/tutorials/unstable/flight_recorder_tutorial.html), and nothing is asked of
it while a rank trains. What is put into a rank is one thread that sleeps until somebody asks, on a
socket of the kernel's abstract names that no file stands for; and a call at the interpreter's end,
which writes the same into the trial's folder where an exception has ended the program.

It is there only once ``torch.distributed`` is imported, by a torch that can tell; until then
nothing is imported here that an interpreter hasn't anyway.
"""

from __future__ import annotations

import _thread
import atexit
import os
import sys

from metta_sandbox.node.agent.recorder.after_import import after_import

TYPE_CHECKING = False
if TYPE_CHECKING:  # ``typing`` takes long to import, and this is in every interpreter of a job
    import socket
    from typing import Any, Dict, List

#: The ring's entries that are told, from the last one backwards.
_TOLD = 400
#: Frames of a stack that are told, from the innermost one outwards.
_DEEP = 40
#: What Gloo's and NCCL's own names of collectives begin with.
_BACKENDS = ("gloo:", "nccl:")
_MODULE = "torch.distributed"
#: Torch's own way to tell, which no public one stands for.
_DUMP = "_dump_fr_trace"
_COMPILER = "_inductor"
#: Where a rank's trial keeps its files, and which rank it is.
_FOLDER, _RANK = "METTA_TRIAL_DIR", "RANK"


def address(pid: int) -> str:
    """Name the socket on which a process tells of its collectives; Linux alone has such names."""
    return f"\0metta-flight-{pid}"


def enter() -> None:
    """Be ready to tell, once this process has imported ``torch.distributed``."""
    if sys.platform == "linux" and "METTA_EVENTS" in os.environ:
        after_import(_MODULE, _begin)


def recorded(most: int = _TOLD) -> Dict[str, Any]:
    """Give the collectives that were entered, and the stacks from which that was done.

    Args:
        most: How many, from the last one backwards.

    Returns:
        ``entries``, the oldest first, as ``autopsy.seen.Collective`` has them, each with the index
        of its ``stack`` among ``stacks``.

    """
    import pickle  # noqa: PLC0415 - see above

    # Written by torch in this very process.
    told = pickle.loads(_dumped())["entries"][-most:]  # noqa: S301
    members = _members()
    found = [
        {
            **_collective(entry, members),
            "time": entry.get("time_created_ns", 0),
            "stack": [
                {"function": each["name"], "file": each["filename"], "line": each["line"]}
                for each in entry.get("frames", ())[:_DEEP]
            ],
        }
        for entry in told
    ]
    if OPERATIONS:
        # NCCL's messages are recorded, Gloo's are not.
        messages = any(one["p2p"] for one in found)
        more = [one for one in OPERATIONS[0].unrecorded() if not (messages and one["p2p"])]
        found = sorted([*found, *map(dict, more)], key=lambda one: int(one["time"]))[-most:]
    stacks: List[List[Dict[str, Any]]] = []
    for one in found:
        if one["stack"] not in stacks:
            stacks.append(one["stack"])
        one["stack"] = stacks.index(one["stack"])
    return {"entries": found, "stacks": stacks}


#: Knows what torch's own recorder leaves out, if anybody does; see ``operations``.
OPERATIONS: List[Any] = []


def _collective(entry: Dict[str, Any], members: Dict[str, List[int]]) -> Dict[str, Any]:
    """Take of one of torch's entries what counts."""
    name, group = str(entry["profiling_name"]), str(entry["process_group"][0])
    name = name[5:] if name.startswith(_BACKENDS) else name
    p2p = bool(entry.get("is_p2p"))
    # NCCL's are called ``send 0->1`` and ``recv 0<-1``.
    name, _, pair = name.partition(" ") if p2p else (name, "", "")
    peer = pair.replace("<-", "->").rpartition("->")[2]
    number = int(entry["p2p_seq_id" if p2p else "collective_seq_id"])
    more = OPERATIONS[0].about(group, number) if OPERATIONS and not p2p else {}
    return {
        **more,
        "group": group,
        "number": number,
        "name": name,
        "sizes": [list(size) for size in entry.get("input_sizes", ())],
        "dtypes": [str(each) for each in entry.get("input_dtypes", ())],
        "out_sizes": [list(size) for size in entry.get("output_sizes", ())],
        "p2p": p2p,
        "peer": int(peer) if peer.isdigit() else None,
        "state": str(entry.get("state", "")),
        # Of Gloo's, nothing else tells that they have ended.
        "over": bool(entry.get("retired")),
        "group_ranks": members.get(group, []),
    }


def _members() -> Dict[str, List[int]]:
    """List the ranks of each process group, as the world numbers them."""
    module: Any = sys.modules.get("torch.distributed.distributed_c10d")
    world: Any = getattr(module, "_world", None)
    try:
        named, ranks = world.pg_names, world.pg_group_ranks
        return {str(name): [*ranks.get(group, ())] for group, name in list(named.items())}
    except Exception:  # noqa: BLE001 - torch's own, which may be otherwise
        return {}


def _dumped() -> bytes:
    """Ask torch, and see that it imports nothing for that.

    It looks whether frames are of code that ``torch._inductor`` has made, and would import that,
    which takes a second. Nobody has made any where it is not imported.
    """
    torch: Any = vars(sys.modules["torch"])
    not_there = _COMPILER not in torch
    if not_there:
        torch[_COMPILER] = None
    try:
        dump: Any = getattr(sys.modules["torch._C._distributed_c10d"], _DUMP)
        return bytes(dump(True, True, False))
    finally:
        if not_there and torch[_COMPILER] is None:
            del torch[_COMPILER]


def _begin() -> None:
    extension = sys.modules.get("torch._C._distributed_c10d")
    if not hasattr(extension, _DUMP):
        return
    import socket  # noqa: PLC0415 - see above

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address(os.getpid()))
        listener.listen(1)
    except OSError:
        listener.close()
        return
    os.register_at_fork(after_in_child=listener.close)
    atexit.register(_at_end, os.getpid())
    # Not one of the program's threads: nobody counts it, and nothing waits for its end.
    _thread.start_new_thread(_serve, (listener,))


def _serve(listener: "socket.socket") -> None:
    while True:
        try:
            caller, _ = listener.accept()
        except OSError:
            return
        _answer(caller)


def _answer(caller: "socket.socket") -> None:
    import json  # noqa: PLC0415 - see above

    try:
        caller.sendall(json.dumps(recorded()).encode())
    except Exception:  # noqa: BLE001 - whoever asks gets less, and the trainer hears of nothing
        return
    finally:
        caller.close()


def _at_end(pid: int) -> None:
    """Keep what was recorded, if an exception that nobody caught has ended the program."""
    folder = os.environ.get(_FOLDER)
    rank = os.environ.get(_RANK)
    if pid != os.getpid() or not folder or not rank or getattr(sys, "last_value", None) is None:
        return
    import json  # noqa: PLC0415 - see above

    try:
        file = os.path.join(folder, f"flight-{rank}.json")
        with open(file, "w") as written:
            json.dump(recorded(), written)
    except Exception:  # noqa: BLE001 - the same
        return
