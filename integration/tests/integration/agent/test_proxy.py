"""A program forked from a node's template, and what stands for it, against the program itself."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from metta_sandbox.node.agent.messages import GroupState, Template
    from tests.integration.agent.conftest import Harness, SmallStack, WaitUntil

ENDS = {
    "falls off its end": "print('done')",
    "exits with 3": "import sys; print('out'); sys.exit(3)",
    "raises": "def f():\n    raise ValueError('x')\n\nf()",
    "is killed": "import os, signal; print('gone', flush=True); os.kill(os.getpid(), 9)",
    "is terminated": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "aborts": "import os; os.abort()",
    "prints to both": "import sys\nfor n in range(3): print(n); print('!', n, file=sys.stderr)",
    "says which it is": (
        "import os, sys\n"
        "print(__name__, __file__, sys.argv, sys.path[0], os.getcwd(), sys.executable)\n"
        "print(sys.orig_argv[1:], os.getpgid(0) == os.getpid(), sys.stdin.read())\n"
        "print(open('/proc/self/cmdline').read().rstrip(chr(0)).split(chr(0))[1:])\n"
        "print([m for m in sys.modules if 'metta' in m], sorted(os.environ.items()))"
    ),
}
#: In place of torch, which takes long to import: what a template has when it forks programs.
TORCH = "class cuda:\n    is_initialized = staticmethod(lambda: False)\n"


class Node:
    """An agent that starts a module, forked and not, in a folder of its own."""

    def __init__(self, stack: SmallStack, harness: Harness) -> None:
        self.stack = stack
        self.harness = harness
        self.work = stack.folder / "work"
        (self.work / "torch" / "distributed").mkdir(parents=True)
        (self.work / "torch" / "__init__.py").write_text(TORCH)
        (self.work / "torch" / "distributed" / "__init__.py").write_text("")

    def start(self, group: str, text: str, template: Template | None = None, **env: str) -> int:
        (self.work / "program.py").write_text(text + "\n")
        given = {"PYTHONPATH": str(self.work), "HOME": str(self.work), **env}
        command = [sys.executable, "-m", "program", "--key", "value"]
        told = self.harness.link.request(
            "n",
            "start",
            group=group,
            command=command,
            env=given,
            cwd=str(self.work),
            template=template,
        )
        return told["pid"]

    def end(self, group: str) -> tuple[int, list[str]]:
        status = self.harness.wait("exit", group=group)["status"]
        said = self.harness.lines(group)
        return status, [line.replace(f"'{group}'", "'GROUP'") for line in said]

    def group(self, name: str) -> GroupState:
        every = self.harness.link.request("n", "groups")
        return next(each for each in every if each["group"] == name)


def _is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


@pytest.fixture
def node(stack: SmallStack) -> Node:
    return Node(stack, stack.up("n"))


def test_it_prints_and_ends_as_one_that_is_started(node: Node) -> None:
    for number, text in enumerate(ENDS.values()):
        node.start(f"cold-{number}", text)
        cold = node.end(f"cold-{number}")
        node.start(f"forked-{number}", text, "own")
        status, said = node.end(f"forked-{number}")
        assert (status, [line.replace("forked", "cold") for line in said]) == cold
    (template,) = node.stack.folder.glob("n-template.sock")
    assert template.is_socket()


def test_signals_reach_it_and_its_process_id_is_the_groups(
    node: Node, wait_until: WaitUntil
) -> None:
    text = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('heard', flush=True), sys.exit(5)))\n"
        "print(os.getpid(), flush=True)\nwhile True: signal.pause()"
    )
    stands = node.start("sweep", text, "own")
    wait_until(lambda: node.harness.take() and node.harness.lines("sweep"), "its pid")
    pid = int(node.harness.lines("sweep")[0])
    wait_until(lambda: node.group("sweep")["pid"] == pid, "the agent knows it")
    assert pid != stands
    node.harness.link.request("n", "stop", group="sweep", grace=10)
    assert node.end("sweep") == (5, [str(pid), "heard"])


@pytest.mark.parametrize("who", ["program", "proxy", "template", "agent"])
def test_nothing_outlives_what_it_hangs_on(node: Node, wait_until: WaitUntil, who: str) -> None:
    text = "import os, time\nprint(os.getpid(), os.getppid(), flush=True)\ntime.sleep(600)"
    stands = node.start("sweep", text, "own")
    wait_until(lambda: node.harness.take() and node.harness.lines("sweep"), "its pid")
    program, template = map(int, node.harness.lines("sweep")[0].split())
    agent = node.harness.messages[node.harness.find("registered", node="n")[0]]["pid"]
    victim = {"program": program, "proxy": stands, "template": template, "agent": agent}[who]
    os.kill(victim, signal.SIGKILL)
    for pid in (program, stands):
        wait_until(partial(_is_gone, pid), f"{pid} is gone")
    if who != "agent":
        assert node.end("sweep")[0] == -signal.SIGKILL
    if who in {"program", "proxy"}:
        node.start("next", "import os; print(os.getppid())", "any")
        assert node.end("next") == (0, [str(template)])


def test_one_that_counts_on_something_else_at_its_start_is_started_by_itself(node: Node) -> None:
    node.start("first", "print('first')", "own")
    assert node.end("first") == (0, ["first"])
    node.start("other", "print('other')", "own", PYTHONHASHSEED="7")
    reason = "warm: started by itself, as PYTHONHASHSEED counts at its start"
    assert node.end("other") == (0, [reason, "other"])


def test_without_a_template_it_is_started(node: Node) -> None:
    node.start("sweep", "print('started')", "any")
    assert node.end("sweep") == (0, ["started"])
    assert not list(node.stack.folder.glob("*-template.sock"))
