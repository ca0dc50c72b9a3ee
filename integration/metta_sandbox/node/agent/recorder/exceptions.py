"""What is kept of an exception: itself and those that it came from, the root first."""

import linecache
import sys
from typing import Any, Dict, List, Optional

#: At most so much is kept: exceptions, frames of each, characters of a message and of a source.
_CHAIN, _FRAMES, _MESSAGE, _SOURCE = 8, 40, 2000, 160
_NOTES = 4
#: The same of one that is only being handled, as it must fit into one line of ``last_calls``.
_BRIEF_FRAMES, _BRIEF_MESSAGE = 3, 300


def describe(error: BaseException) -> Dict[str, Any]:
    """Describe an exception; one that was raised while ``sys.exit`` handled it is its cause."""
    chain: List[BaseException] = []
    one: Optional[BaseException] = error
    while one is not None and one not in chain and len(chain) < _CHAIN:
        chain.append(one)
        if one.__cause__ is not None:
            one = one.__cause__
        else:
            one = None if one.__suppress_context__ else one.__context__
    # Of several at once, the first one stands for all.
    parts = getattr(chain[-1], "exceptions", None)
    if isinstance(parts, tuple) and parts and isinstance(parts[0], BaseException):
        chain.append(parts[0])
    return {"chain": [_one(each) for each in reversed(chain)]}


def brief(error: BaseException) -> Dict[str, Any]:
    """Describe shortly where an exception came from: the root of its chain."""
    root = describe(error)["chain"][0]
    message, frames = root["message"][:_BRIEF_MESSAGE], root["frames"][:_BRIEF_FRAMES]
    return {**root, "message": message, "frames": frames, "notes": []}


def place(trace: Any) -> Optional[Dict[str, Any]]:
    """Give the innermost place of a traceback, or that of a frame."""
    if trace is None:
        return None
    if hasattr(trace, "tb_frame"):
        frames = _frames(trace)
        return frames[0] if frames else None
    return _frame(trace.f_code, trace.f_lineno)


def _one(error: BaseException) -> Dict[str, Any]:
    kind = type(error)
    module = kind.__module__
    bare = module in {"builtins", "__main__"}
    notes = getattr(error, "__notes__", None)
    return {
        "kind": kind.__qualname__ if bare else f"{module}.{kind.__qualname__}",
        "message": _short(_text(error)),
        "frames": _frames(error.__traceback__),
        "notes": [_short(str(each)) for each in notes[:_NOTES]] if isinstance(notes, list) else [],
    }


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - somebody's own exception
        return ""


def _short(text: str) -> str:
    """Keep both ends: the first line says what it is, and the last ones why."""
    if len(text) <= _MESSAGE:
        return text
    return f"{text[: _MESSAGE // 3]}\n…\n{text[-(_MESSAGE - _MESSAGE // 3 - 3) :]}"


def _frames(trace: Any) -> List[Dict[str, Any]]:
    """List the frames of a traceback, the innermost first, without ours."""
    found = []
    while trace is not None:
        code = trace.tb_frame.f_code
        if not _is_ours(code.co_filename):
            found.append((code, trace.tb_lineno))
        trace = trace.tb_next
    return [_frame(code, line) for code, line in found[: -_FRAMES - 1 : -1]]


def _is_ours(file: str) -> bool:
    return "/metta_sandbox/node/agent/" in file and ".pyz/" in file


def _frame(code: Any, line: Optional[int]) -> Dict[str, Any]:
    return {
        "function": code.co_name,
        "file": code.co_filename,
        "line": line or 0,
        "source": _source(code.co_filename, line or 0),
    }


def _source(file: str, line: int) -> str:
    # What the interpreter's own end has taken away can't be asked for any more.
    if not file.endswith(".py") or sys.is_finalizing():
        return ""
    return linecache.getline(file, line).strip()[:_SOURCE]
