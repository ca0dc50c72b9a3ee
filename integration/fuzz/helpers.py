"""Threads, locks and child processes that the ranks of a program work with, as templates."""

from __future__ import annotations

from random import Random
from string import Template

from fuzz.operations import Operation

_READER = """
class $Name:
    \"\"\"Reads records ahead.\"\"\"

    def __init__(self, run):
        self.run = run
        self.ready = queue.Queue(maxsize=2)
        threading.Thread(target=self.fill, name="$thread", daemon=True).start()

    def fill(self):
        last = STEPS + 5
        @$mark.last|self.run.rank|
        for number in range(last):
            self.ready.put(self.record(number))

    def record(self, number):
        @$mark.thread|self.run.rank|number
        return torch.full((4,), float(number))


def $name(run, step):
    @$mark.early|run.rank|step
    value = run.$mark.ready.get()  #: $mark
    @$mark.late|run.rank|step
    run.note("$name", float(value.sum()))
"""
_LOCK = """
class $Name:
    \"\"\"Counts, and writes down what was counted now and then.\"\"\"

    def __init__(self, run):
        self.run = run
        self.lock = threading.Lock()
        self.output = threading.Lock()
        self.step = 0
        self.count = 0
        threading.Thread(target=self.flush_often, name="$thread", daemon=True).start()

    def flush_often(self):
        while True:
            with self.lock:
                self.flush()
            time.sleep(0.005)

    def flush(self):
        @$mark.holder|self.run.rank|self.step
        with self.output:  #: $mark.output
            self.count += 0

    def add(self, step):
        self.step = step
        @$mark.order|self.run.rank|step
        with self.lock:  #: $mark
            self.count += 1


def $name(run, step):
    @$mark.early|run.rank|step
    run.$mark.add(step)
    @$mark.late|run.rank|step
    run.note("$name", float(run.$mark.count))
"""
_PROGRAM = """
def $name(run, step):
    @$mark.early|run.rank|step
    @$mark.mute|run.rank|step
    run.$mark.stdin.write(f"{step}\\n")
    run.$mark.stdin.flush()
    value = int(run.$mark.stdout.readline())  #: $mark
    @$mark.late|run.rank|step
    run.note("$name", float(value))
"""
_CHILD = """\"\"\"Answers with the square of what it is asked.\"\"\"

import sys
import time

RANK = int(sys.argv[1])


def answer(number):
    @$mark.child|RANK|number
    return number * number


def main():
    for line in sys.stdin:  #: $mark.stdin
        print(answer(int(line)), flush=True)


main()
"""
_WORKER = """
def $inner(there, here, rank):
    here.close()
    while True:
        number = there.recv()
        @$mark.child|rank|number
        there.send(number * 2.0)


def $name(run, step):
    @$mark.early|run.rank|step
    @$mark.mute|run.rank|step
    run.$mark.send(step)
    value = run.$mark.recv()  #: $mark
    @$mark.late|run.rank|step
    run.note("$name", value)
"""
_LOADER = """
class $Name(torch.utils.data.Dataset):
    def __init__(self, rank):
        self.rank = rank

    def __len__(self):
        return 64

    def __getitem__(self, number):
        @$mark.child|self.rank|number
        return torch.full((2,), float(number))


def $name(run, step):
    @$mark.early|run.rank|step
    value = next(run.$mark)  #: $mark
    @$mark.late|run.rank|step
    run.note("$name", float(value.sum()))
"""
_COMMAND = """
def $name(run, step):
    @$mark.early|run.rank|step
    command = ["sh", "-c", "echo $$(( $$0 * 2 ))", str(step)]
    @$mark.command|run.rank|step
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)  #: $mark
    @$mark.late|run.rank|step
    run.note("$name", float(done.stdout))
"""
_TEMPLATES = {
    "reader thread": _READER,
    "lock": _LOCK,
    "child program": _PROGRAM,
    "worker process": _WORKER,
    "data loader": _LOADER,
    "command": _COMMAND,
}
_SETUP = {
    "reader thread": "        self.$mark = $Name(self)\n",
    "lock": "        self.$mark = $Name(self)\n",
    "child program": """        program = Path(__file__).with_name("child.py")
        child = [sys.executable, str(program), str(self.rank)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.$mark = subprocess.Popen(child, text=True, **pipes)
""",
    "worker process": """        apart = multiprocessing.get_context("fork")
        self.$mark, there = apart.Pipe()
        given = (there, self.$mark, self.rank)
        apart.Process(target=$inner, args=given, daemon=True).start()
$close""",
    "data loader": """        self.$mark = iter(
            torch.utils.data.DataLoader($Name(self.rank), num_workers=1)
        )
""",
    "command": "",
}
_CHILDREN = {"child program": _CHILD}
HELPERS = tuple(_TEMPLATES)


def helper(draw: Random, mark: str, kind: str, names: list[str]) -> Operation:
    """Make one of a kind, with a name that is not taken; takes it from ``names``."""
    name, inner = names.pop(), names.pop()
    thread = draw.choice(("reader", "prefetch", "background", "io-1"))
    closes = draw.random() < 0.5
    values = {
        "mark": mark,
        "name": name,
        "Name": "".join(map(str.capitalize, inner.split("_"))),
        "inner": inner,
        "thread": thread,
        "close": "        there.close()\n" if closes else "",
    }
    return Operation(
        mark=mark,
        kind=kind,
        name=name,
        template=Template(_TEMPLATES[kind]).substitute(values),
        setup=Template(_SETUP[kind]).substitute(values),
        child=Template(_CHILDREN.get(kind, "")).substitute(values),
    )
