"""Whether what is silent only needs longer: it starts, imports, compiles or computes."""

from __future__ import annotations

from collections.abc import Mapping

from metta_sandbox.autopsy.calls import AT_WORK, CurrentCall, Doing
from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.words import LIBRARY

#: From how many processes ready to run on a processor a machine makes everybody slow.
_CROWDED = 3.0


def gets_on(case: Case, processors: int, times: int) -> str:
    """Say who is still at work, if waiting on makes sense; empty if somebody hangs.

    Who computes in the program's own code while others wait for it may do so for ever: that is
    waited for once, and only where the machine is so busy that all are slow.

    Args:
        case: What all nodes show now.
        processors: How many processors the machine has.
        times: How often that was waited for already.

    """
    calls = _calls(case)
    working = {who: call for who, call in calls.items() if call.doing in AT_WORK}
    stuck = [
        call for call in calls.values() if call.doing not in AT_WORK and not call.waits_for_others
    ]
    if not working or stuck or any(look.problem for look in case.looks.values()):
        return ""
    load = case.load
    crowded = load > _CROWDED * processors and times == 0
    if len(working) < len(calls) and not crowded and not all(map(_starts, working.values())):
        return ""
    told = ", ".join(f"{who} is at {call}" for who, call in working.items())
    return f"{told}; the load is {load:.0f} on {processors} processors"


def _starts(call: CurrentCall) -> bool:
    """Tell whether a process is on its way into its program, or deep in a library's set-up."""
    return call.doing is Doing.STARTING or bool(
        call.name and call.inner and LIBRARY.search(call.inner)
    )


def _calls(case: Case) -> Mapping[str, CurrentCall]:
    if case.begun or case.script:
        return {f"{one}": one.call for one in case.members if one.alive and one.call is not None}
    return {f"the rollout on {host}": call for host, call in case.rollouts.items()}
