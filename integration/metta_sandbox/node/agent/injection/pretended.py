"""Lets ranks that ask for NCCL meet over Gloo, where a task's GPUs are pretended.

Tensors stay where a program puts them: one that puts them on a GPU fails here, as on any machine
without.
"""

from __future__ import annotations

import sys

from metta_sandbox.node.agent.recorder.after_import import after_import

TYPE_CHECKING = False
if TYPE_CHECKING:  # ``typing`` takes long to import, and this is in every interpreter of a job
    from typing import Any, Callable

#: Says how many GPUs of each node are pretended.
VARIABLE = "METTA_PRETENDED_GPUS"
_MODULE = "torch.distributed"
_TOLD = "metta-sandbox: the GPUs are pretended, so this process group is over gloo, not nccl"


def enter() -> None:
    """Be ready, once this process has imported ``torch.distributed``."""
    after_import(_MODULE, _begin)


def _begin() -> None:
    distributed = sys.modules[_MODULE]
    torch = sys.modules["torch"]
    if not distributed.is_available() or torch.cuda.is_available():
        return
    told: list[str] = []

    def over_gloo(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            # A group's ranks come first in ``new_group``, the backend in ``init_process_group``.
            first = args[:1] if function.__name__ == "init_process_group" else ()
            if any("nccl" in str(said) for said in (*first, named.get("backend"))):
                args, named = args[len(first) :], {**named, "backend": "gloo"}
                named.pop("device_id", None)
                if not told:
                    told.append(_TOLD)
                    sys.stderr.write(f"{_TOLD}\n")
            return function(*args, **named)

        call.__name__, call.__doc__ = function.__name__, function.__doc__
        return call

    for name in ("init_process_group", "new_group"):
        setattr(distributed, name, over_gloo(getattr(distributed, name)))
