"""How ranks ended: which by themselves, and which because another one had left them."""

from __future__ import annotations

import math
import signal
from dataclasses import replace

from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.cause import Kind
from metta_sandbox.autopsy.kinds import LEFT_ALONE, MISMATCH, TIMED_OUT, TOLD_TO_END, kind_of
from metta_sandbox.autopsy.members import Member
from metta_sandbox.autopsy.waits import lost_threads
from metta_sandbox.autopsy.words import LIBRARY, Exc, of_raised
from metta_sandbox.stack.ends import describe_end

_TORCH = "torch/distributed/"
#: What PyTorch's own threads say as they abort a process whose peer is gone.
_ABORTED = (-signal.SIGABRT, 128 + signal.SIGABRT)


def failed_by_themselves(case: Case) -> list[Member]:
    """List the ranks that ended badly of their own, whoever ended first before the others."""
    found = [
        one
        for one in case.members
        if not one.alive and one.status != 0 and not left_alone(case, one) and not clashed(one)
    ]
    return sorted(found, key=lambda one: (one.status is None, _when(one), one.rank))


def _when(member: Member) -> float:
    return math.inf if member.ended is None else member.ended


def clashed(member: Member) -> bool:
    """Tell whether a rank ended of what another one gave, or did, in the same collective."""
    error, status = member.error, member.status or 0
    if status in _ABORTED and _fatal_in_torch(member) and not (error and error.exact):
        # Gloo aborts whom it can't serve, whatever else the log holds.
        return True
    if error is None or (status < 0 and status not in _ABORTED):
        return False
    return bool(MISMATCH.search(str(error))) and _of_torch(error)


def left_alone(case: Case, member: Member) -> bool:
    """Tell whether a rank ended as another one had left it, did not come, or as it was told to."""
    if member.status in TOLD_TO_END and not _has_own_error(member):
        return _after_another(case, member)
    if member.status == -signal.SIGKILL and not member.out_of_memory:
        # What outlives a node's command is killed; a rank may be that command itself.
        _, ended = case.commands.get(member.node, (0, math.inf))
        return (member.ended or 0.0) > ended
    error = member.error
    if error is None:
        return member.status in _ABORTED and _fatal_in_torch(member)
    return waited_in_vain(error)


def _after_another(case: Case, member: Member) -> bool:
    """Tell whether anything had ended before a rank was told to end; else that came by itself."""
    ends = [one.ended for one in case.members if one is not member and not one.alive]
    ends += [ended for _, ended in case.commands.values()]
    known = [each for each in ends if each is not None]
    # Where no time is known, launchers are taken to have done it.
    return (
        member.ended is None
        or len(known) < len(ends)
        or any(each <= member.ended for each in known)
    )


def _has_own_error(member: Member) -> bool:
    error = member.error
    return error is not None and error.exact and not waited_in_vain(error)


def waited_in_vain(error: Exc) -> bool:
    """Tell whether an error only says that another rank went away, or did not come."""
    text = str(error)
    return bool(LEFT_ALONE.search(text) or TIMED_OUT.search(text)) and _of_torch(error)


def _of_torch(error: Exc) -> bool:
    """Tell whether words are of communication between ranks.

    An exception without its frames, and what aborted the process, may be. Last words may be about
    anything.
    """
    unknown = bool(error.kind) and not error.files and not error.exact
    return error.distributed or bool(error.aborted) or unknown


def _fatal_in_torch(member: Member) -> bool:
    frames = member.life.fatal if member.life else ()
    return any(_TORCH in one.file for one in frames)


def death_of(case: Case, member: Member) -> tuple[Kind, str, str]:
    """Say how a rank ended: the kind of cause, the words, and the call it was in."""
    if (child := _child_of(member)) is not None:
        return child
    status, error = member.status, member.error
    if status is None:
        return "process died", "is not there any more; how it ended is not known", ""
    if status < 0 and not (error and error.exact):
        return _signalled(case, member, -status)
    if error is None or not error.kind:
        return _exited(member, status)
    what = f"raised {told(error)}{_as_its_worker(member)}{_in_thread(member, status)}"
    return kind_of(error), what, error.site


def _as_its_worker(member: Member) -> str:
    """Say which signal ended a data loader's worker, where what was raised does not."""
    error, life = member.error, member.life
    if error is None or life is None or not any(_LOADER in file for file in error.files):
        return ""
    ends = [-one.status for one in life.reaped if one.status < 0 and one.status not in TOLD_TO_END]
    if not ends or "is killed by signal" in error.message:
        return ""
    return f", as its data loader's worker was killed by signal {ends[0]} ({_name(ends[0])})"


#: Where workers are asked, and what they gave is taken from their sockets.
_LOADER = "torch/utils/data/dataloader.py"


def _in_thread(member: Member, status: int) -> str:
    """Tell in which thread something was raised, and how the process ended after that."""
    lost = lost_threads(member.life)
    if not lost or lost[0].error != member.error:
        return ""
    _, ended, at = _exited(replace(member, error=None), status)
    place = f"{lost[0].error.in_site}," if lost[0].error.place else ""
    return f"{place} in its thread `{lost[0].name}`, and then {ended}{f' in {at}' if at else ''}"


def told(error: Exc) -> str:
    """Say what was raised, where else that was, and what it ended as."""
    where = f" {error.where}" if error.where else ""
    ended = f", and ended with {error.ended}" if error.ended else ""
    return f"{error}{where}{ended}"


def _exited(member: Member, status: int) -> tuple[Kind, str, str]:
    # Last words are no traceback, and may be about anything.
    said = str(member.error) if member.error else ""
    life = member.life
    at = ""
    if life is not None and life.exit_at is not None and not LIBRARY.search(life.exit_at.file):
        at = life.exit_at.site
    kind = kind_of(member.error) if member.error else "exception"
    return ("process died" if kind == "exception" else kind), describe_end(status, said), at


def _signalled(case: Case, member: Member, number: int) -> tuple[Kind, str, str]:
    look = case.looks.get(member.node)
    if number == signal.SIGKILL:
        if member.out_of_memory or (look is not None and look.oom_kills):
            return "killed by the kernel", "was killed by the kernel, out of memory", ""
        return "process died", "was killed by signal 9 (SIGKILL)", ""
    what = f"was killed by signal {number} ({_name(number)})"
    error, at = member.error, fatal_place(member)
    # One that aborts has said why; of any other signal it knew nothing when it spoke last.
    kind = kind_of(error) if error and number == signal.SIGABRT else "exception"
    if error is None or kind == "exception":
        return "process died", what, at
    return kind, f"{what}, saying: {error}", at


def fatal_place(member: Member) -> str:
    """Say where a rank was when a signal ended it: its own code, also of a thread beside it."""
    life = member.life
    stacks = (life.fatal, *life.beside) if life and life.fatal else ()
    # Who aborts a rank is often a thread of Gloo's, and another one waits for it.
    told = sorted(stacks, key=lambda frames: not any(_TORCH in one.file for one in frames))
    own = (one for frames in told for one in frames if not LIBRARY.search(one.file))
    first = next(own, None)
    return first.site if first else ""


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _child_of(member: Member) -> tuple[Kind, str, str] | None:
    """Find the child of whose end a rank only tells."""
    error = member.error
    if error is None or not _ABOUT_A_CHILD.issuperset({error.kind.rpartition(".")[2]}):
        return None
    for life in member.children_ended:
        own = of_raised(life.exception) if life.exception else None
        if own is not None:
            program = " ".join(life.argv[:3])[:60]
            what = f"ended with {error.kind}, as its child `{program}` raised {told(own)}"
            return kind_of(own), what, own.site
    return None


_ABOUT_A_CHILD = frozenset({"CalledProcessError", "BrokenPipeError", "EOFError"})
