"""Lets a fault strike while a process is about to leave its process group, and close its store.

It is put into interpreters of scenarios alone that have a fault wait for this.
"""

import os
import sys
from typing import Any, List

from metta_sandbox.node.agent.emitter import Emitter, identity
from metta_sandbox.node.agent.events import GroupClosing
from metta_sandbox.node.agent.injection.hook import CLOSING
from metta_sandbox.node.agent.recorder.after_import import after_import

_MODULE = "torch.distributed.distributed_c10d"
_NAME = "destroy_process_group"
#: This process's, made when it first has something to tell.
_EMITTERS: List[Emitter] = []
#: One for each default group that was left.
_LEFT: List[int] = []


def enter() -> None:
    """Begin to tell of process groups that are left, where a fault waits for one."""
    if CLOSING in os.environ and "METTA_EVENTS" in os.environ:
        after_import(_MODULE, _wrap)


def _wrap() -> None:
    module: Any = sys.modules[_MODULE]
    whole = getattr(module, _NAME)

    def destroy_process_group(group: Any = None) -> Any:
        if group is None and module.is_initialized():
            _tell()
        return whole(group)

    destroy_process_group.__wrapped__ = whole  # type: ignore[attr-defined]
    setattr(module, _NAME, destroy_process_group)


def _tell() -> None:
    _LEFT.append(1)
    if not _EMITTERS:
        _EMITTERS.append(Emitter(identity(os.environ), os.environ["METTA_EVENTS"]))
    _EMITTERS[0].tell_if_armed(GroupClosing(number=len(_LEFT)))
