"""What a program said of its end: the exception that ended it, and where that came from.

A program's own record (``RecordedLife``) is exact. A log is read where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from metta_sandbox import beneath
from metta_sandbox.autopsy.seen import LONGEST, Frame, Raised, RaisedOne
from metta_sandbox.last_words import CHILD_FAILED, is_worth_telling, last_words
from metta_sandbox.words import one_line

#: How much of a log's end is read, in bytes.
_READ = 1 << 20
_HEAD = "Traceback (most recent call last):"
_AT = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>.+)$')
_LAST = re.compile(r"^(?P<kind>[A-Za-z_][\w.]*)(: ?(?P<message>.*))?$")
#: How two tracebacks of one chain are joined; the first is the root.
_JOINED = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
#: PyTorch's own line about a peer that it can't find, or reach no way to.
_UNREACHED = re.compile(
    r"\[c10d\] .*(cannot be retrieved|gai error|Name or service not known|No route to host"
    r"|Network is unreachable)"
)
#: How much of what an exception says is told, in characters and in further lines.
_LONGEST = 200
_LINES = 6
#: torchrun and the warm launcher prefix what ranks say: ``[rank1]: ``; PyTorch does so once more
#: for each process group that there was.
_PREFIX = re.compile(r"^(?:\[(?:rank|default)\d+\]:\s?)+")
#: Lines that PyTorch, W&B and the interpreter add when a program ends, whatever ended it.
_PARTING = re.compile(
    r"^\[[WEIF]\d{4} |^[WEIF]\d{4} [\d:.]+|^wandb: |^terminate called|^  what\(\):"
    r"|^Exception ignored|^Aborted|^Fatal Python error|/multiprocessing/resource_tracker\.py"
    r"|^warnings\.warn|^sweep: at work, "
)
#: Decorators of ``torch.distributed``, which say nothing.
WRAPPERS = frozenset({"wrapper", "inner"})
#: Files that are nobody's own code: installed, frozen, or of the sandbox inside of a rank.
LIBRARY = re.compile(
    r"/(site|dist)-packages/|/lib/python3\.\d+/|^<|^frozen|\.pyz/"
    r"|^__main__\.py$|metta_sandbox/node/(agent|launchers)/|/bin/(torchrun|accelerate)$"
)
#: What launchers raise about a process that they have started; that process has said why itself.
ABOUT_OTHERS = re.compile(
    r"(^|\.)(ChildFailedError|ProcessRaisedException|ProcessExitedException|SignalException)$"
)
#: What shells say of a command that they can't run.
_SHELL = re.compile(
    r"^(?P<shell>(?:/\S*/)?(?:ba|da|z|k)?sh|[\w./-]+\.(?:sh|bash)): "
    r"(?:line \d+: |\d+: |-c: )*(?P<said>.*(?:Permission denied|not found"
    r"|No such file or directory|"
    r"syntax error.*|cannot execute.*|unbound variable|parameter null or not set))\s*$"
)
_NESTED = re.compile(r"(?:Original )?Traceback \(most recent call last\):")
_CAUGHT = re.compile(r"^Caught (?P<kind>[\w.]+) (?P<where>in [^\n]*?)\.?\n")


@dataclass(frozen=True)
class Exc:
    """An exception: the root of its chain.

    Attributes:
        kind: Its class, such as ``ValueError``; empty for last words that are no traceback.
        message: What it says, in several lines if it has them.
        place: The innermost line of the program's own code.
        function: The function there.
        call: What it had called there, if that was a library's function.
        calls: Names of all functions on the way, the innermost first.
        files: The files of these.
        ended: What the chain ended as, if that was another exception.
        where: Who else it was raised in, such as a data loader's worker.
        exact: Whether the program's own record says so, and not its log alone.
        said: The program's last words beside it.
        aborted: What an exception of C++ said that nobody caught, if there was one.
        unreached: What PyTorch's own lines say of a peer whose name or network is not known.

    """

    kind: str
    message: str = ""
    place: str = ""
    function: str = ""
    call: str = ""
    calls: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    ended: str = ""
    where: str = ""
    exact: bool = False
    said: str = ""
    aborted: str = ""
    unreached: str = ""

    @property
    def site(self) -> str:
        """The function and the line of the program's own code, in words; empty if not known."""
        return f"`{self.function}`, {self.place}" if self.place else ""

    @property
    def in_site(self) -> str:
        """The same, to be put behind what happened there."""
        return f" in {self.site}" if self.place else ""

    def __str__(self) -> str:
        words = one_line(self.message)
        message = f"{words[:_LONGEST]}…" if len(words) > _LONGEST else words
        return ": ".join(part for part in (self.kind, message) if part)

    @property
    def distributed(self) -> bool:
        """Whether it came from PyTorch's communication between ranks, and not from elsewhere."""
        if any("torch/distributed/" in file and "elastic" not in file for file in self.files):
            return True
        backward = any(_BACKWARD.search(file) for file in self.files)
        return bool(_BACKEND.search(f"{self.kind}: {self.message}")) or (
            backward and bool(_CONNECTION.search(self.message))
        )


_BACKWARD = re.compile(r"torch/(autograd/|_tensor\.py|nn/parallel/)")
_BACKEND = re.compile(
    r"gloo|NCCL|c10d|Dist(Backend|Network|Store)Error|ProcessGroup|monitoredBarrier|TCPStore"
    r"|wait timeout after \d+ms, keys|CollectiveFingerPrint"
)
_CONNECTION = re.compile(r"[Cc]onnection|[Tt]imed? ?out|Socket|peer")


def of_raised(raised: Raised) -> Exc | None:
    """Turn a program's own record of what it raised into words; None if that holds nothing."""
    if not raised.chain:
        return None
    return replace(_of_chain([_unwrapped(_of_one(one)) for one in raised.chain]), exact=True)


#: What PyTorch raises out of a signal's handler, in the middle of what suffers of it already.
_WORKER_GONE = re.compile(r"DataLoader worker \(pid\(?s?\)? [\d, ]+\) (is killed|exited)")


def _of_chain(chain: Sequence[Exc]) -> Exc:
    """Take what a chain came from; and what it ended as, if that is another one."""
    gone = next((one for one in chain if _WORKER_GONE.search(one.message)), None)
    root, last = gone or chain[0], chain[-1]
    return replace(root, ended="" if last is root else str(last))


def _of_one(one: RaisedOne) -> Exc:
    kind = one.kind.removeprefix("builtins.")
    return _told(kind, one.message.strip(), [(f.file, f.line, f.function) for f in one.frames])


def last_error(root: Path, path: Path) -> Exc | None:
    """Read a log beneath a folder: its last traceback, or else its last words, or None."""
    text = end_of(root, path)
    return None if text is None else last_said(text.splitlines())


def end_of(root: Path, path: Path) -> str | None:
    """Read the end of a log beneath a folder; None if there is none."""
    try:
        return beneath.read_end(root, path, _READ).decode(errors="replace")
    except OSError:
        return None


def last_said(lines: Sequence[str]) -> Exc | None:
    """Find the exception that ended a program in what it printed, or else its last words.

    An exception that was printed and survived has other words of the program behind it.
    """
    own = [_PREFIX.sub("", line[:LONGEST]) for line in lines]
    report = next((number for number, line in enumerate(own) if CHILD_FAILED.search(line)), None)
    own = own[:report]
    unreached = next((line for line in reversed(own) if _UNREACHED.search(line)), "")
    told, aborted = _last_said(own), _aborted(own)
    if told is None and not unreached:
        return None
    return replace(told or Exc(""), unreached=unreached, aborted=aborted)


def _last_said(lines: Sequence[str]) -> Exc | None:
    found, behind = _last_chain(lines)
    said = last_words(line for line in lines if not _PARTING.search(line))
    if found is not None and not any(map(_goes_on, behind)):
        return replace(found, said=said)
    if aborted := _aborted(lines):
        return Exc("", aborted)
    if (refused := _shell_error(lines)) is not None:
        return refused
    return Exc("", said, said=said) if said else found


def _aborted(lines: Sequence[str]) -> str:
    """Find what an exception of C++ said that nobody caught, and that has aborted the program."""
    said = [line.strip() for line in lines if line.strip().startswith("what():")]
    return said[-1] if said else ""


def _goes_on(line: str) -> bool:
    return is_worth_telling(line) and not _PARTING.search(line)


def _shell_error(lines: Sequence[str]) -> Exc | None:
    for line in reversed(lines):
        if match := _SHELL.match(line.strip()):
            return Exc("", line.strip(), call=match["said"])
    return None


def parse(text: str) -> Exc | None:
    """Find the last exception that a text holds, of a chain the root."""
    return _last_chain([_PREFIX.sub("", line) for line in text.splitlines()])[0]


def _last_chain(lines: Sequence[str]) -> tuple[Exc | None, Sequence[str]]:
    """Read the last chain of tracebacks that is no launcher's; and the lines behind it."""
    starts = [number for number, line in enumerate(lines) if line.strip() == _HEAD]
    chains: list[list[tuple[Exc, int]]] = []
    end = -1
    for start in starts:
        read = _read(lines, start + 1)
        if read is None:
            continue
        joined = any(line.strip() in _JOINED for line in lines[max(end, 0) : start])
        if not (chains and joined and end >= 0):
            chains.append([])
        chains[-1].append(read)
        end = read[1]
    for chain in reversed(chains):
        if ABOUT_OTHERS.search(chain[-1][0].kind):
            continue
        return _of_chain([one for one, _ in chain]), lines[chain[-1][1] :]
    return None, ()


def _read(lines: Sequence[str], start: int) -> tuple[Exc, int] | None:
    """Read one traceback; gives what it says, and the number of the line behind it."""
    frames: list[tuple[str, int, str]] = []
    for number in range(start, len(lines)):
        line = lines[number]
        if match := _AT.match(line):
            frames.insert(0, (match["file"], int(match["line"]), match["function"]))
        elif line and not line.startswith((" ", "\t")):
            if (last := _LAST.match(line)) is None:
                return None
            message, end = _whole_message(last["message"] or "", lines, number + 1)
            return _unwrapped(_told(last["kind"], message[:LONGEST], frames)), end
    return None


def _whole_message(first: str, lines: Sequence[str], number: int) -> tuple[str, int]:
    """Take the lines that belong to a message: up to one that is blank or somebody else's."""
    told = [first.strip()]
    nested = bool(_CAUGHT.match(f"{first}\n"))
    while number < len(lines) and (nested or len(told) <= _LINES):
        line = lines[number]
        stop = not line.strip() or line.strip() == _HEAD or _PARTING.search(line)
        if (stop and not nested) or (nested and not line.strip()):
            break
        if not nested and not line.startswith((" ", "\t")) and not first.rstrip().endswith(":"):
            # A program that goes on prints at the margin, too.
            break
        told.append(line)
        number += 1
    return "\n".join(told).strip(), number


def _unwrapped(found: Exc) -> Exc:
    """Give what was raised in another process, where an exception only tells of that."""
    nested = list(_NESTED.finditer(found.message))
    if not nested:
        return found
    lines = found.message[nested[-1].end() :].splitlines()
    inner = _read(lines, 0)
    if inner is None:
        return found
    caught = _CAUGHT.match(found.message)
    return replace(inner[0], where=caught["where"] if caught else "in a process of its own")


def _told(kind: str, message: str, frames: Sequence[tuple[str, int, str]]) -> Exc:
    """Say of an exception where it came from; frames begin with the innermost one."""
    functions = tuple(bare(function) for _, _, function in frames)
    files = tuple(file for file, _, _ in frames)
    for number, (file, line, function) in enumerate(frames):
        if not LIBRARY.search(file):
            inner = [name for name in functions[:number] if name not in WRAPPERS]
            return Exc(
                kind,
                message,
                place=Frame(function=function, file=file, line=line).place,
                function=bare(function),
                call=inner[-1] if inner else "",
                calls=functions,
                files=files,
            )
    return Exc(kind, message, calls=functions, files=files)


def bare(function: str) -> str:
    """Take a function's own name; since Python 3.11 there are qualified ones."""
    return function.rpartition(".")[2]
