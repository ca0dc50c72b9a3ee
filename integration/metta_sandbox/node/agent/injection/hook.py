"""How our own code gets into interpreters before theirs runs, and out of their sight.

``flight`` and ``life`` are in all of them, ``injector`` in those alone that a fault names. A
rank finds no trace of it. Where a command of the user's starts what it likes, all that inherits its
environment has it, too: there the variable stays that leads to it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # ``typing`` takes long to import, and this is in every interpreter of a job
    from typing import Any, Dict, List, Mapping

#: Names the ranks, with commas between.
VARIABLE = "METTA_INJECT"
#: Set where a fault waits for a process group to be left.
CLOSING = "METTA_CLOSING"
#: The folder in the agent's zipapp that holds the ``sitecustomize``.
HOOK = "inject"
#: Set where descendants are to find it, too.
INHERITED = "METTA_HOOK"


def is_meant(environ: Mapping[str, str]) -> bool:
    """Tell whether a rank with this environment is one of those that faults strike inside of."""
    return environ.get("RANK") in environ.get(VARIABLE, "").split(",")


def with_hook(environ: Mapping[str, str], app: str) -> Dict[str, str]:
    """Build the environment in which a rank's interpreter finds this module.

    Args:
        environ: The rank's.
        app: Path of the agent's zipapp.

    """
    hook, own = os.path.join(app, HOOK), environ.get("PYTHONPATH")
    # Named twice where there was a list with nothing in it, which is not what none is.
    paths = [hook, hook if own == "" else own] if own is not None else [hook]
    return {**environ, "PYTHONPATH": os.pathsep.join(paths)}


def step_aside(hook: str) -> None:
    """Leave the interpreter as it would be without us: its path, its modules, its environment."""
    sys.path[:] = [entry for entry in sys.path if entry != hook]
    if INHERITED not in os.environ:
        _forget(hook)
    ours = [name for name in sys.modules if name.split(".")[0] == "metta_sandbox"]
    _KEPT.extend(sys.modules.pop(name) for name in ours)


def _forget(hook: str) -> None:
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    rest = [entry for entry in paths if entry != hook]
    if any(rest) or paths.count(hook) > 1:
        os.environ["PYTHONPATH"] = os.pathsep.join(rest)
    else:
        os.environ.pop("PYTHONPATH", None)


def exported() -> str:
    """Write what a shell must export so that all that it starts finds this module."""
    paths = f"$METTA_AGENT/{HOOK}${{PYTHONPATH:+:$PYTHONPATH}}"
    return f'export {INHERITED}=1 PYTHONPATH="{paths}"; '


def hand_on() -> None:
    """Import the ``sitecustomize`` that ours has hidden, if there is one.

    Raises:
        ImportError: It imports what is not there.

    """
    own = sys.modules.pop("sitecustomize")
    try:
        __import__("sitecustomize")
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        sys.modules.setdefault("sitecustomize", own)


#: What runs here is in them.
_KEPT: List[Any] = []
