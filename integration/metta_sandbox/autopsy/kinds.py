"""Kinds of causes, told from what was said, and from what a call waits for."""

from __future__ import annotations

import re
import signal

from metta_sandbox.autopsy.calls import CurrentCall, Doing
from metta_sandbox.autopsy.cause import Kind
from metta_sandbox.autopsy.words import Exc

#: What a rank says, or how it ends, when another one left it or it was told to end.
LEFT_ALONE = re.compile(
    r"closed by peer|reset by peer|Broken pipe|Connection refused|Application timeout|"
    r"Connection closed|Connection was likely closed|peer closed|recvValue failed|"
    r"failed to pass monitoredBarrier|errors while waiting for send/recv|wait timeout after|"
    r"clients joined",
    re.IGNORECASE,
)
#: How one ends that was told to.
TOLD_TO_END = frozenset({-signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGTERM})
#: How PyTorch names ranks that have not come (``monitored_barrier``).
NAMED_BY_PEERS = re.compile(
    r"(?:Ranks? |waiting for send/recv from rank )([\d, ]+?)(?: failed to pass|\.|$)"
)
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
MISMATCH = re.compile(r"[Mm]ismatch between collectives|op\.preamble\.length|do(es)? not match")
#: What is said of waiting in vain.
TIMED_OUT = re.compile(r"[Tt]imed? ?out|Timeout")
AT_RENDEZVOUS = re.compile(r"rendezvous|init_process_group|_create_c10d_store")
#: A value that is no number, as programs say it; no part of a name, a path or a sentence.
_NO_NUMBER = re.compile(
    r"(?:\b(?:is|was|are|became|got|has|have|contains?|to|value|values|of|or)|[=:,(\[])\s*['\"]?"
    r"(?:nan|NaN|NAN|[+-]?inf)(?![\w./-]*[\w/-])",
)
#: Exceptions by which the system itself speaks.
_OF_THE_SYSTEM = frozenset(
    {"OSError", "IOError", "gaierror", "PermissionError", "ConnectionError", "DistNetworkError"}
    | {"DistStoreError", "DistBackendError", "RuntimeError", "InvalidConfigError"}
)
#: Exceptions that programs raise over numbers.
_OF_NUMBERS = frozenset(
    {"ValueError", "FloatingPointError", "ArithmeticError", "RuntimeError", "AssertionError"}
    | {"OverflowError", "Exception"}
)
#: A metric without a value, in somebody's last words.
_METRIC = re.compile(r"(loss|score|reward|norm|metric)\w*['\"]?\s*(is|=|:)?\s*(nan|NaN|inf)\b")
#: What W&B says, and the control plane's client.
TRACKER = re.compile(r"wandb|CommError|UsageError")
API = re.compile(
    r"\b(GET|POST) https?://|https?://\S+ gave no answer|ControlPlane|HTTPError|ReadTimeout"
    r"|Observatory|Cogweb",
    re.IGNORECASE,
)


def kind_of(error: Exc) -> Kind:
    """Tell what kind of cause an exception, or somebody's last words, stand for.

    Words count only where they are somebody's who means them: an ``OSError`` that the system
    raised, or what came from PyTorch's own communication. A program's own message may be about
    anything.
    """
    text, name = str(error), error.kind.rpartition(".")[2]
    system = name in _OF_THE_SYSTEM or not error.kind or error.distributed
    # Who has no frames was read from somebody's last words, which is all that there is.
    torch = error.distributed or not error.files
    known: tuple[tuple[re.Pattern[str], bool, Kind], ...] = (
        (_DISK, system or "[Errno 28]" in text, "disk full"),
        (_PORT, system or "[Errno 98]" in text, "port taken"),
        (MISMATCH, torch, "collective mismatch"),
        (UNREACHABLE, system, "peer unreachable"),
    )
    for pattern, counts, kind in known:
        if counts and pattern.search(text):
            return kind
    if error.kind.startswith(("wandb", "CommError")):
        return "tracker failed"
    if TIMED_OUT.search(text) and any(AT_RENDEZVOUS.search(call) for call in error.calls):
        return "rank missing at rendezvous"
    numbers = name in _OF_NUMBERS and _NO_NUMBER.search(error.message)
    if numbers or (name in {"", *_OF_NUMBERS} and _METRIC.search(error.message)):
        return "NaN"
    return "exception"


def what_holds(call: CurrentCall) -> tuple[Kind, str]:
    """Tell the kind of what keeps a process from coming to where others wait, in words too."""
    line = f": {call.source}" if call.source else ""
    named = bool(call.function) and not call.function.startswith("<")
    within = f" in `{call.function}`" if named else ""
    at = f" at {call.place}{within}{line}" if call.place else ""
    holder = call.name or "another thread"
    why = f" {call.why}" if call.why else ""
    name = f" `{call.name}`" if call.name.startswith("store") else ""
    known: dict[Doing, tuple[Kind, str]] = {
        Doing.STORE: (
            "rank missing at rendezvous",
            f"waits in{name}{why}{at}, a key that nobody has set",
        ),
        Doing.STARTING: ("straggler", f"is still starting, at an import{at}"),
        Doing.STOPPED: ("stopped", f"is stopped by a signal{at}"),
        Doing.GIL: (
            "waiting for the GIL",
            f"waits for the interpreter's lock that {holder} holds{at}",
        ),
        Doing.LOCK: (
            "waiting for a lock",
            f"waits{at}{',' if at else ''}{why}" if why else f"waits for a lock{at}",
        ),
        Doing.API: ("API slow", f"waits for an answer of the API{at}"),
        Doing.TRACKER: ("tracker failed", f"is held up by {call.name}{at}"),
        Doing.BUSY: ("straggler", f"is still at work{at}{why}"),
        Doing.IDLE: (
            "straggler",
            f"{'sleeps again and again' if call.polls else 'stands still'}{at}{why}",
        ),
    }
    unread = f"does not come; its stack can't be read ({call.place or 'no reason told'})"
    kind, what = known.get(call.doing, ("straggler", unread))
    if call.ended is not None:
        kind = kind_of(call.ended)
    elif call.deadlock:
        kind = "deadlock"
    main = f"; its main thread waits at {call.at}" if call.at else ""
    return kind, f"{_subject(call)}{what}{main}"


def _subject(call: CurrentCall) -> str:
    """Name the thread or the child that is meant, if it is not the rank's main thread."""
    if not call.thread:
        return ""
    if call.thread.startswith(("child", "data loader")):
        return f"waits for its {call.thread}, which "
    return f"waits for its thread `{call.thread}`, which "
