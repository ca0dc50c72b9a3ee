"""Notes what torch's own recorder leaves out: roots, reduce operations, and some of Gloo's calls.

Each call notes itself and returns what it would, as soon as it would: it only begins what is then
waited for. The last ones are kept in a file as well (``last_calls``), before they begin, as Gloo's
own thread may abort the process at once, and torch's recorder is gone with it.
"""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # ``typing`` takes long to import, and this is in every interpreter of a job
    from typing import Any, Callable, Dict, List, Tuple

#: What a process group is asked for with a root, with an operation, or with both.
_COLLECTIVES = (
    *("allreduce", "allreduce_coalesced", "broadcast", "reduce", "gather", "scatter"),
    *("reduce_scatter", "_reduce_scatter_base", "reduce_scatter_single"),
    *("allgather", "_allgather_base", "all_gather_single"),
    *("alltoall", "alltoall_base", "all_to_all_single", "barrier"),
)
#: What torch's recorder calls them, and which argument is what goes in. A ``reduce_scatter`` of
#: Gloo's is not among them: it records the collectives that it is made of.
_RECORDED = {
    **dict.fromkeys(("allreduce", "allreduce_coalesced"), ("all_reduce", 0)),
    "broadcast": ("broadcast", 0),
    "reduce": ("reduce", 0),
    **dict.fromkeys(("allgather", "_allgather_base", "all_gather_single"), ("all_gather", 1)),
    "gather": ("gather", 1),
    "scatter": ("scatter", 1),
    "barrier": ("barrier", -1),
    **dict.fromkeys(("alltoall", "alltoall_base", "all_to_all_single"), ("all_to_all", 1)),
}
#: What it calls their types.
_TYPES = {
    "float32": "Float",
    "float64": "Double",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "int64": "Long",
    "int32": "Int",
    "int16": "Short",
    "int8": "Char",
    "uint8": "Byte",
    "bool": "Bool",
}
_SENDS = ("send", "recv", "recv_anysource")
#: Gloo makes it of two messages with each of the others at rank 0, and of two at any other. Torch's
#: recorder counts two everywhere, a group counts them all.
_MONITORED, _ITS_COUNT = "monitored_barrier", 2
#: At most so many are kept, the last ones, and so many frames of each.
_MOST, _DEEP = 400, 40


class Operations:
    """What was noted, by the name of the process group.

    Args:
        module: ``torch.distributed.distributed_c10d``.
        noted: See ``noted.noted``.
        keep: Keeps a call where it outlives this process.
        brief: Describes an exception in one line's room.

    """

    def __init__(
        self,
        module: Any,
        noted: Callable[..., Any],
        keep: Callable[[Dict[str, Any]], None],
        brief: Callable[[BaseException], Dict[str, Any]],
    ) -> None:
        self._world = module._world  # noqa: SLF001 - no public name gives it
        self._keep = keep
        self._brief = brief
        self._about: Dict[Tuple[str, int], Dict[str, Any]] = {}
        self._unrecorded: List[Dict[str, Any]] = []
        self._counts: Dict[str, int] = {}
        # A group counts what is sent and received with its collectives, torch's recorder apart.
        self._before: Dict[str, int] = {}
        self._apart: Dict[str, int] = {}
        self._names = {
            int(value): name for name, value in module.ReduceOp.RedOpType.__members__.items()
        }
        group: Any = module.ProcessGroup
        notes: List[Tuple[str, Callable[..., Any], Any]] = [
            *((name, self._note_options, None) for name in _COLLECTIVES),
            *((name, self._note_sent, self._note_begun) for name in _SENDS),
            (_MONITORED, self._note_monitored, self._note_begun),
        ]
        for name, before, after in notes:
            if hasattr(group, name):
                setattr(group, name, noted(name, getattr(group, name), before, after))

    def about(self, group: str, number: int) -> Dict[str, Any]:
        """Give the root, as the group numbers it, the reduce operation, and what was handled."""
        return self._about.get((group, number), {})

    def unrecorded(self) -> List[Dict[str, Any]]:
        """Give what was sent and received and each monitored barrier, the oldest first."""
        return list(self._unrecorded)

    def _note_options(self, name: str, given: Any, kwargs: Any) -> None:
        group, *args = given
        options = kwargs.get("opts", args[-1] if args else None)
        found = self._handled()
        if hasattr(options, "rootRank"):
            found["root"] = int(options.rootRank)
        if hasattr(options, "reduceOp"):
            found["op"] = self._names.get(int(options.reduceOp.op), "")
        number = self._next_number(group)
        if found:
            self._about[str(group.group_name), number] = found
        if len(self._about) > _MOST:
            del self._about[next(iter(self._about))]
        if name in _RECORDED:
            recorded, position = _RECORDED[name]
            tensors = _tensors(args[position]) if 0 <= position < len(args) else []
            # Only a scatter tells nothing of what goes in, where not at its root.
            taken = _tensors(args[0]) if recorded == "scatter" else []
            self._keep(
                {
                    **found,
                    **self._entry(group, number, recorded, tensors),
                    "out_sizes": [list(each.shape) for each in taken],
                }
            )

    def _next_number(self, group: Any) -> int:
        """Give the number that torch's recorder will count a group's next collective as."""
        return 1 + _sequence(group) - self._apart.get(str(group.group_name), 0)

    def _entry(self, group: Any, number: int, name: str, tensors: List[Any]) -> Dict[str, Any]:
        sizes = [list(each.shape) for each in tensors]
        types = [str(each.dtype).rpartition(".")[2] for each in tensors]
        if name == "scatter" and sizes:
            # The root's are one tensor to torch's recorder.
            sizes, types = [[len(sizes), *sizes[0]]], types[:1]
        return {
            "time": time.time_ns(),
            "group": str(group.group_name),
            "group_ranks": list(self._world.pg_group_ranks.get(group, ())),
            "number": number,
            "name": name,
            "sizes": sizes,
            "dtypes": [_TYPES.get(each, each) for each in types],
            "stack": _stack(),
        }

    def _note_sent(self, name: str, given: Any, _kwargs: Any) -> Tuple[str, Any]:
        group, tensors = given[:2]
        peer = None if name == "recv_anysource" else given[2]
        known = str(group.group_name)
        self._counts[known] = self._counts.get(known, 0) + 1
        called = "recv" if name.startswith("recv") else name
        entry = self._entry(group, self._counts[known], called, list(tensors))
        self._note_unrecorded(group, {**entry, "p2p": True, "peer": peer})
        return name, group

    def _note_monitored(self, name: str, given: Any, _kwargs: Any) -> Tuple[str, Any]:
        group = given[0]
        entry = self._entry(group, self._next_number(group), name, [])
        self._note_unrecorded(group, {**entry, "p2p": False})
        return name, group

    def _note_unrecorded(self, group: Any, entry: Dict[str, Any]) -> None:
        self._before[entry["group"]] = _sequence(group)
        entry.update(self._handled())
        self._unrecorded.append(entry)
        self._keep(entry)
        del self._unrecorded[:-_MOST]

    def _handled(self) -> Dict[str, Any]:
        """Describe the exception in whose ``except`` or ``finally`` a call is made, if any."""
        error = sys.exc_info()[1]
        return {} if error is None else {"handling": self._brief(error)}

    def _note_begun(self, about: Tuple[str, Any], *_made: Any) -> None:
        name, group = about
        known = str(group.group_name)
        more = _sequence(group) - self._before[known]
        counted = min(more, _ITS_COUNT) if name == _MONITORED else 0
        self._apart[known] = self._apart.get(known, 0) + more - counted


def _sequence(group: Any) -> int:
    return int(group._get_sequence_number_for_group())  # noqa: SLF001 - no public name gives it


def _tensors(given: Any) -> List[Any]:
    """List the tensors of an argument that is one, or a list of some, or of lists of some."""
    if hasattr(given, "dtype"):
        return [given]
    return [one for each in given for one in _tensors(each)]


def _stack() -> List[Dict[str, Any]]:
    """Give the calls below ours, the innermost first; loops have the same ones again and again."""
    places: List[Tuple[Any, int]] = []
    frame: Any = sys._getframe(5)  # noqa: SLF001 - documented
    while frame is not None and len(places) < _DEEP:
        places.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    key = tuple(places)
    if key not in _STACKS:
        if len(_STACKS) >= _MOST:
            _STACKS.clear()
        _STACKS[key] = [
            {"function": code.co_name, "file": code.co_filename, "line": line}
            for code, line in places
        ]
    return _STACKS[key]


_STACKS: Dict[Tuple[Any, ...], List[Dict[str, Any]]] = {}
