"""Notes what torch's own recorder leaves out: roots, reduce operations, and Gloo's point-to-point.

Each call notes itself and returns what it would, as soon as it would: it only begins what is then
waited for.
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
    *("reduce_scatter", "_reduce_scatter_base"),
)
_SENDS = ("send", "recv", "recv_anysource")
#: At most so many are kept, the last ones, and so many frames of each.
_MOST, _DEEP = 400, 40


class Operations:
    """What was noted, by the name of the process group.

    Args:
        module: ``torch.distributed.distributed_c10d``.

    """

    def __init__(self, module: Any) -> None:
        self._about: Dict[Tuple[str, int], Dict[str, Any]] = {}
        self._sent: List[Dict[str, Any]] = []
        self._counts: Dict[str, int] = {}
        self._names = {
            int(value): name for name, value in module.ReduceOp.RedOpType.__members__.items()
        }
        group: Any = module.ProcessGroup
        for names, note in ((_COLLECTIVES, self._note_options), (_SENDS, self._note_sent)):
            for name in names:
                if hasattr(group, name):
                    setattr(group, name, _noted(name, getattr(group, name), note))

    def about(self, group: str, number: int) -> Dict[str, Any]:
        """Give the root, as the group numbers it, and the reduce operation of a collective."""
        return self._about.get((group, number), {})

    def sent(self) -> List[Dict[str, Any]]:
        """Give what was sent and received, or is being, the oldest first."""
        return list(self._sent)

    def _note_options(self, _name: str, group: Any, args: Any, kwargs: Any) -> None:
        options = kwargs.get("opts", args[-1] if args else None)
        found: Dict[str, Any] = {}
        if hasattr(options, "rootRank"):
            found["root"] = int(options.rootRank)
        if hasattr(options, "reduceOp"):
            found["op"] = self._names.get(int(options.reduceOp.op), "")
        key = (str(group.group_name), int(group._get_sequence_number_for_group()))  # noqa: SLF001
        self._about[key] = found
        if len(self._about) > _MOST:
            del self._about[next(iter(self._about))]

    def _note_sent(self, name: str, group: Any, args: Any, _kwargs: Any) -> None:
        tensors, peer = args[0], args[1] if name != "recv_anysource" else None
        known = str(group.group_name)
        self._counts[known] = self._counts.get(known, 0) + 1
        self._sent.append(
            {
                "time": time.time_ns(),
                "group": known,
                "number": self._counts[known],
                "name": "recv" if name.startswith("recv") else name,
                "sizes": [list(each.shape) for each in tensors],
                "dtypes": [str(each.dtype).rpartition(".")[2] for each in tensors],
                "peer": peer,
                "stack": _stack(),
            }
        )
        del self._sent[:-_MOST]


def _noted(name: str, whole: Any, note: Callable[..., None]) -> Any:
    def operation(group: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return whole(group, *args, **kwargs)
        except BaseException as error:
            # This call is none of the program's.
            trace = error.__traceback__
            error.__traceback__ = trace.tb_next if trace is not None else None
            raise
        finally:
            quiet(name, group, args, kwargs)

    def quiet(*told: Any) -> None:
        try:
            note(*told)
        except Exception:  # noqa: BLE001 - what is asked for counts
            return

    operation.__name__, operation.__doc__ = name, whole.__doc__
    return operation


def _stack() -> List[Dict[str, Any]]:
    """Give the calls below ours, the innermost first."""
    found: List[Dict[str, Any]] = []
    frame: Any = sys._getframe(4)  # noqa: SLF001 - documented
    while frame is not None and len(found) < _DEEP:
        code = frame.f_code
        found.append({"function": code.co_name, "file": code.co_filename, "line": frame.f_lineno})
        frame = frame.f_back
    return found
