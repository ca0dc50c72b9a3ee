"""Kinds of causes, told from what was said, and from what a call waits for."""

from __future__ import annotations

import re
import signal

from metta_sandbox.autopsy.calls import Call, Doing
from metta_sandbox.autopsy.cause import Kind
from metta_sandbox.autopsy.words import Exc

#: What a rank says, or how it ends, when another one left it or it was told to end.
LEFT_ALONE = re.compile(
    r"closed by peer|reset by peer|Broken pipe|Connection refused|Application timeout|"
    r"Connection closed|Connection was likely closed|peer closed|recvValue failed",
    re.IGNORECASE,
)
#: How one ends that was told to.
TOLD_TO_END = frozenset({-signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGTERM})
_DISK = re.compile(r"No space left on device|Errno 28|ENOSPC|Disk quota exceeded")
_PORT = re.compile(r"EADDRINUSE|[Aa]ddress already in use|Errno 98")
#: What is said of a host whose name, or the way to which, nobody knows.
UNREACHABLE = re.compile(
    r"Name or service not known|Temporary failure in name resolution|No address associated with"
    r"|gaierror|gai error|NameResolutionError|[Cc]ould not resolve host|ENETUNREACH|EHOSTUNREACH"
    r"|No route to host|Network is unreachable"
)
#: What launchers, torchrun's and ours, say when they were told to end.
STOPPED_LAUNCHER = re.compile(r"got signal: \d+|stopped by SIG[A-Z]+")
_MISMATCH = re.compile(r"[Mm]ismatch between collectives|op\.preamble\.length|do(es)? not match")
#: What is said of waiting in vain.
TIMED_OUT = re.compile(r"[Tt]imed? ?out|Timeout")
_MEETING = re.compile(r"rendezvous|init_process_group")
_NO_NUMBER = re.compile(r"\b(nan|NaN|inf)\b")
#: What W&B says, and the control plane's client.
TRACKER = re.compile(r"wandb|CommError|UsageError")
API = re.compile(
    r"\b(GET|POST) https?://|https?://\S+ gave no answer|ControlPlane|HTTPError|ReadTimeout"
    r"|Observatory|Cogweb",
    re.IGNORECASE,
)


def kind_of(error: Exc) -> Kind:
    """Tell what kind of cause an exception, or somebody's last words, stand for."""
    text = str(error)
    known: tuple[tuple[re.Pattern[str], Kind], ...] = (
        (_DISK, "disk full"),
        (_PORT, "port taken"),
        (_MISMATCH, "collective mismatch"),
        (UNREACHABLE, "peer unreachable"),
    )
    for pattern, kind in known:
        if pattern.search(text):
            return kind
    if error.kind.startswith(("wandb", "CommError")):
        return "tracker failed"
    if TIMED_OUT.search(text) and any(_MEETING.search(call) for call in error.calls):
        return "rank missing at rendezvous"
    if _NO_NUMBER.search(error.message) and ("Error" in error.kind or not error.kind):
        return "NaN"
    return "exception"


def what_holds(call: Call) -> tuple[Kind, str]:
    """Tell the kind of what keeps a process from coming to where others wait, in words too."""
    line = f": {call.source}" if call.source else ""
    at = f" at {call.place}{line}" if call.place else ""
    holder = call.name or "another thread"
    known: dict[Doing, tuple[Kind, str]] = {
        Doing.STOPPED: ("stopped", "is stopped by a signal"),
        Doing.GIL: ("waiting for the GIL", f"waits for the interpreter's lock that {holder} holds"),
        Doing.LOCK: ("waiting for a lock", "waits for a lock"),
        Doing.API: ("API slow", "waits for an answer of the API"),
        Doing.TRACKER: ("tracker failed", f"is held up by {call.name}"),
        Doing.BUSY: ("straggler", "is still at work"),
        Doing.IDLE: ("straggler", "stands still"),
    }
    kind, what = known.get(call.doing, ("straggler", "does not come; its stack can't be read"))
    return kind, f"{what}{at}"
