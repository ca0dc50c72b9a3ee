"""What goes wrong in one process at one place: bodies of an ``if`` that holds for one rank."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

#: What marks the line where it goes wrong.
MARK = "  #: wrong"


@dataclass(frozen=True)
class Trouble:
    """Lines that make a rank fail, and what can be known of the failure."""

    lines: tuple[str, ...]
    says: str = ""
    #: Whether anybody can see where it was.
    place: bool = True


_MESSAGES = (
    "record 6 has 7 columns, expected 8",
    "checkpoint does not match the model",
    "learning rate must be below inf",
    "timed out waiting for the moon",
    "loss is not a number: nan",
    "connection to the feature store refused",
    "rank of the matrix is 0",
    "line one of it\\nline two of it: see above",
    "unexpected keyword 'lr'",
    "killed the wrong branch",
)
_KINDS = ("ValueError", "RuntimeError", "KeyError", "OSError", "TypeError", "NotImplementedError")


def raises(draw: Random, *, plain: bool = False) -> Trouble:
    """Raise an exception that nobody catches. ``plain``: without torch or names of ``train.py``."""
    message, kind = draw.choice(_MESSAGES), draw.choice(_KINDS)
    simple = [
        ((f'raise {kind}("{message}"){MARK}',), kind),
        (("numbers = []", f"numbers[3] += 1{MARK}"), "IndexError"),
        ((f'int("n/a"){MARK}',), "ValueError"),
        (("none = 0", f"none = 1 / none{MARK}"), "ZeroDivisionError"),
        ((f'{{"lr": 0.1}}["DATASET_VERSION"]{MARK}',), "KeyError"),
        ((f'open("missing/part-3.bin"){MARK}',), "FileNotFoundError"),
        ((f'assert not "empty", "{message}"{MARK}',), "AssertionError"),
    ]
    chained = (
        "try:",
        f'    raise {kind}("{message}"){MARK}',
        f"except {kind} as error:",
        f'    raise RuntimeError("step failed") from error{MARK}',
    )
    rich = [
        ((f'raise DataError("{message}"){MARK}',), "DataError"),
        ((f"torch.ones(2, 3) @ torch.ones(2, 3){MARK}",), "RuntimeError"),
        (chained, kind),
    ]
    lines, says = draw.choice(simple if plain else simple + rich)
    return Trouble(lines, rf"\b{says}\b")


def sleeps(draw: Random, *, plain: bool = False) -> Trouble:
    """Have the rank stand still for ever."""
    simple = [
        (f"time.sleep(4_000){MARK}",),
        ("while True:", f"    time.sleep(4){MARK}"),
    ]
    rich = [
        (f"threading.Event().wait(){MARK}",),
        (f"select.select([], [], []){MARK}",),
        ("pair = os.pipe()", f"os.read(pair[0], 1){MARK}"),
        ("ours, theirs = socket.socketpair()", f"ours.recv(4){MARK}"),
    ]
    return Trouble(draw.choice(simple if plain else simple * 2 + rich))


def is_busy(draw: Random, *, plain: bool = False) -> Trouble:
    """Have the rank work for ever."""
    simple: list[tuple[str, ...]] = [
        ("number = 1", f"while number:{MARK}", f"    number = (number * 7 + 1) % 9_973 + 1{MARK}"),
        (f"while True:{MARK}", f"    sum(number * number for number in range(1_000)){MARK}"),
    ]
    rich: list[tuple[str, ...]] = [
        (
            "weights = torch.eye(64)",
            f"while weights.sum() > 0:{MARK}",
            f"    weights = weights @ weights{MARK}",
        ),
    ]
    return Trouble(draw.choice(simple if plain else simple + rich))


def exits(draw: Random, *, threaded: bool = False) -> Trouble:
    """Have the rank end with a status."""
    status = draw.choice((2, 3, 5, 7, 17, 42, 113))
    hard = [(f"os._exit({status}){MARK}",)]
    soft = [(f"sys.exit({status}){MARK}",), (f"raise SystemExit({status}){MARK}",)]
    lines = draw.choice(hard if threaded else hard + soft)
    return Trouble(lines, rf"\b{status}\b", place=False)


def is_killed(draw: Random) -> Trouble:
    """Have the rank end by a signal."""
    name = draw.choice(("SIGSEGV", "SIGKILL", "SIGABRT", "SIGBUS", "SIGFPE", "SIGTERM"))
    number = int(getattr(__import__("signal"), name))
    words = [name, rf"[Ss]ignal {number}\b", rf"-{number}\b", rf"\b{128 + number}\b"]
    words += {"SIGSEGV": ["[Ss]egmentation"], "SIGABRT": ["[Aa]borted"]}.get(name, [])
    line = f"os.kill(os.getpid(), signal.{name}){MARK}"
    if name == "SIGABRT" and draw.random() < 0.5:
        line = f"os.abort(){MARK}"
    return Trouble((line, "time.sleep(1)"), "|".join(words), place=False)


def is_stopped(_: Random) -> Trouble:
    """Have the rank stop itself, so that nobody lets it go on."""
    lines = (f"os.kill(os.getpid(), signal.SIGSTOP){MARK}",)
    return Trouble(lines, "[Ss]topped|SIGSTOP|stops", place=False)


def leaves(draw: Random, *, threaded: bool = False) -> Trouble:
    """End early, and say that all is well."""
    hard = [(f"os._exit(0){MARK}",)]
    soft = [(f"sys.exit(0){MARK}",), ('print("nothing left to do")', f"sys.exit(){MARK}")]
    return Trouble(draw.choice(hard if threaded else hard + soft), place=False)
