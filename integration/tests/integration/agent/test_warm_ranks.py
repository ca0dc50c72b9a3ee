"""Ranks forked from a warm process against the same programs, started."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from metta_sandbox.node.agent.fork_server.client import ask

if TYPE_CHECKING:
    from tests.integration.agent.conftest import Harness, SmallStack, WaitUntil

PLACE = {
    "num_nodes": 2,
    "node_rank": 1,
    "ranks_per_node": 1,
    "master_addr": "127.0.0.1",
    "master_port": 1,
}
ENDS = {
    "falls off its end": "print('done')",
    "exits with 3": "import sys; print('out'); sys.exit(3)",
    "exits with 256 + 2": "raise SystemExit(258)",
    "exits with a text": "raise SystemExit('no such thing')",
    "raises": "def f():\n    raise ValueError('x')\n\nf()",
    "raises from": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError(1) from e",
    "is no Python": "print('never')\n)(",
    "has a hook": "import sys\nsys.excepthook = lambda *a: print('hook', a[0])\nraise ValueError",
    "interrupts itself": "import os, signal; os.kill(os.getpid(), signal.SIGINT); input()",
    "is killed": "import os, signal; print('gone'); os.kill(os.getpid(), signal.SIGKILL)",
    "is terminated": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "aborts": "import os; os.abort()",
    "segfaults": "import ctypes; ctypes.string_at(0)",
    "leaves at once": "import os; print('lost'); os._exit(4)",
    "has something to do at exit": "import atexit; atexit.register(print, 'bye'); print('main')",
    "has a thread that is not done": (
        "import threading, time\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()\n"
        "print('main')"
    ),
    "has a daemon thread": (
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    ),
    "says which it is": (
        "import os, sys\n"
        "print(__name__, __file__, __doc__, __spec__, sys.argv, sys.path[0], os.getcwd())\n"
        "print(sorted(name for name in globals()))\n"
        "print(sys.orig_argv[1:], os.getpgid(0) == os.getpid(), sys.stdin.read())"
    ),
    "imports its neighbour": "import neighbour; print(neighbour.WORD)",
    "has its modules for itself": "import sys; print([m for m in sys.modules if 'metta' in m])",
    "has the usual signals": (
        "import signal\n"
        "print({n: str(signal.getsignal(n)).split(' at ')[0] for n in range(1, 32)})\n"
        "print(signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    ),
    "prints to both": "import sys\nfor n in range(3): print(n); print('!', n, file=sys.stderr)",
    "is not utf-8": "import sys; sys.stdout.buffer.write(b'\\xff\\n'); print('\\u20ac')",
    "forks": (
        "import os\nprint('one', flush=True)\npid = os.fork()\n"
        "if pid: os.waitpid(pid, 0); print('parent')\nelse: print('child')"
    ),
    "spawns": (
        "import multiprocessing as m\n"
        "def work(n): return n * n\n"
        "if __name__ == '__main__':\n"
        "    with m.get_context('spawn').Pool(1) as pool: print(pool.map(work, [2, 3]))"
    ),
    "has open files of its own alone": (
        "import os\nprint(sorted(f for f in os.listdir('/proc/self/fd') if int(f) < 3))\n"
        "print([os.path.basename(os.readlink(f'/proc/self/fd/{f}')) for f in (1, 2)])"
    ),
}


class Warm:
    """A node with a warm process on it."""

    def __init__(
        self, stack: SmallStack, harness: Harness, preload: Sequence[str], **env: str
    ) -> None:
        self.stack = stack
        self.harness = harness
        self.socket = str(stack.folder / "warm.sock")
        self.work = stack.folder / "work"
        self.work.mkdir()
        (self.work / "neighbour.py").write_text("WORD = 'next door'\n")
        (self.work / "script.py").write_text("")
        words = ["warm", f"--listen={self.socket}", *(f"--preload={name}" for name in preload)]
        self.start("warm", [sys.executable, str(stack.app), *words], env)
        while not Path(self.socket).exists():
            assert harness.take() is None or not harness.find("exit", group="warm")
        self.refusal = ask(self.socket, 20)

    def start(self, group: str, command: Sequence[str], env: dict[str, str] | None = None) -> None:
        given = {"PYTHONPATH": "", "METTA_TEST": f"{self.stack.folder}", **(env or {})}
        self.harness.link.request(
            "n", "start", group=group, command=list(command), env=given, cwd=str(self.work)
        )

    def cold(self, words: Sequence[str], env: dict[str, str]) -> tuple[str, int]:
        ranks = {"RANK": "0", "LOCAL_RANK": "0"}
        wrapped = self.stack.program("rank", f"--log-folder={self.stack.folder / 'cold'}", "--")
        self.start("cold", [*wrapped, sys.executable, *words], {**env, **ranks})
        return self.end("cold", 0)

    def fork(self, words: Sequence[str], env: dict[str, str], *, ranks: int = 1) -> None:
        kind, rest = ("module", words[1:]) if words[0] == "-m" else ("script", words)
        program = {
            "kind": kind,
            "target": rest[0],
            "arguments": rest[1:],
            "command": [sys.executable, *words],
            "unbuffered": False,
        }
        ranked = self.stack.program(
            "ranks",
            f"--warm={self.socket}",
            f"--log-folder={self.stack.folder / 'forked'}",
            f"--group={json.dumps({**PLACE, 'ranks_per_node': ranks})}",
            f"--run={json.dumps(program)}",
        )
        self.start("forked", ranked, env)

    def forked(self, words: Sequence[str], env: dict[str, str]) -> tuple[str, int]:
        self.fork(words, env)
        return self.end("forked", 1)

    def end(self, group: str, rank: int) -> tuple[str, int]:
        status = self.harness.wait("rank-exited", group=group, rank=rank)["status"]
        end = self.harness.wait("exit", group=group)
        assert end["status"] == (status if group == "cold" else int(status != 0))
        return self.log(group, rank), status

    def log(self, group: str, rank: int) -> str:
        text = (self.stack.folder / group / f"rank-{rank}.log").read_text(errors="replace")
        return text.replace(f"rank-{rank}.log", "rank.log")


@pytest.fixture
def warm(stack: SmallStack) -> Warm:
    warm = Warm(stack, stack.up("n"), ["json", "logging", "multiprocessing"])
    assert warm.refusal == ""
    return warm


@pytest.mark.parametrize("end", list(ENDS))
def test_a_script_prints_and_ends_as_one_that_is_started(warm: Warm, end: str) -> None:
    (warm.work / "script.py").write_text(ENDS[end] + "\n")
    words = ["script.py", "--key", "value"]
    assert warm.forked(words, {}) == warm.cold(words, {})


@pytest.mark.parametrize("end", ["says which it is", "raises", "exits with 3", "spawns"])
def test_so_does_a_module(warm: Warm, end: str) -> None:
    (warm.work / "module.py").write_text(ENDS[end] + "\n")
    words = ["-m", "module", "--key", "value"]
    forked, cold = (
        (re.sub("0x[0-9a-f]+", "0x", said), status)
        for said, status in (warm.forked(words, {}), warm.cold(words, {}))
    )
    assert forked == cold


def test_a_missing_script_is_told_as_the_interpreter_tells_it(warm: Warm) -> None:
    assert warm.forked(["nowhere.py"], {}) == warm.cold(["nowhere.py"], {})


def test_its_environment_is_what_was_given(warm: Warm) -> None:
    (warm.work / "script.py").write_text(
        "import os, json, subprocess\nprint(json.dumps(dict(os.environ)))\n"
        "subprocess.run(['env'])\n"
    )
    env = {"MINE": "é ", "EMPTY": "", "MASTER_ADDR": "127.0.0.1", "HOME": "/elsewhere"}
    forked, cold = (
        json.loads(run(["script.py"], env)[0].splitlines()[0]) for run in (warm.forked, warm.cold)
    )
    ranked = {"RANK", "METTA_GROUP", "ROLE_NAME", "ROLE_RANK", "TORCH_NCCL_ASYNC_ERROR_HANDLING"}
    ranked |= {f"{which}WORLD_SIZE" for which in ("", "LOCAL_", "GROUP_", "ROLE_")}
    ranked |= {"GROUP_RANK", "MASTER_PORT", *(name for name in forked if "TORCHELASTIC" in name)}
    assert {k: v for k, v in forked.items() if k not in ranked} == {
        k: v for k, v in cold.items() if k not in ranked
    }


#: An interpreter that takes all but ASCII for bytes that it can't read.
_ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_words_and_variables_are_the_same_bytes_in_another_locale(stack: SmallStack) -> None:
    warm = Warm(stack, stack.up("n"), [], **_ASCII)
    (warm.work / "script.py").write_text(
        "import os, sys\n"
        "print(list(map(os.fsencode, sys.argv)), os.environb[b'MINE'], ascii(os.environ['MINE']))\n"
    )
    env, words = {"MINE": "é✓", **_ASCII}, ["script.py", "name=é✓"]

    assert warm.forked(words, env) == warm.cold(words, env)
    assert "\\xc3\\xa9" in warm.log("forked", 1)


def test_a_rank_that_can_not_begin_says_why(warm: Warm) -> None:
    program: dict[str, Any] = {
        "kind": "script",
        "target": "script.py",
        "arguments": None,
        "command": [],
    }
    ranked = warm.stack.program(
        *("ranks", f"--warm={warm.socket}", f"--log-folder={warm.stack.folder / 'forked'}"),
        *(f"--group={json.dumps({**PLACE, 'ranks_per_node': 1})}", f"--run={json.dumps(program)}"),
    )
    warm.start("forked", ranked)

    assert warm.harness.wait("exit", group="forked")["status"] == 1
    assert "KeyError: 'unbuffered'" in warm.log("forked", 1)


def _is_ready(log: Path) -> bool:
    return log.exists() and "ready" in log.read_text()


def _is_gone(pid: str) -> bool:
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_the_trial_reaches_its_ranks(
    warm: Warm, wait_until: WaitUntil, number: signal.Signals
) -> None:
    (warm.work / "script.py").write_text(
        "import signal, sys\n"
        f"signal.signal({number}, lambda *_: (print('heard', flush=True), sys.exit(5)))\n"
        "print('ready', flush=True)\nwhile True: signal.pause()\n"
    )
    warm.fork(["script.py"], {}, ranks=2)
    folder = warm.stack.folder / "forked"
    for rank in (2, 3):
        path = folder / f"rank-{rank}.log"
        wait_until(partial(_is_ready, path), "ready")
    warm.harness.link.request("n", "signal", group="forked", signal=number)
    assert warm.harness.wait("exit", group="forked")["status"] == 1
    assert all("heard" in warm.log("forked", rank) for rank in (2, 3))


def test_the_first_rank_to_fail_ends_the_others(warm: Warm) -> None:
    (warm.work / "script.py").write_text(
        "import os, time\nif os.environ['LOCAL_RANK'] == '1': raise SystemExit(9)\ntime.sleep(60)\n"
    )
    warm.fork(["script.py"], {}, ranks=3)
    end = warm.harness.wait("exit", group="forked")
    assert end["status"] == 1
    assert [rank["status"] for rank in end["ranks"]] == [-signal.SIGTERM, 9, -signal.SIGTERM]


@pytest.mark.parametrize("who", ["client", "server", "rank"])
def test_no_rank_outlives_who_started_it(warm: Warm, wait_until: WaitUntil, who: str) -> None:
    (warm.work / "script.py").write_text(
        "import os, time\nprint(os.getpid(), os.getppid(), flush=True)\ntime.sleep(600)\n"
    )
    warm.fork(["script.py"], {})
    path = warm.stack.folder / "forked" / "rank-1.log"
    said = wait_until(lambda: path.exists() and path.read_text().split(), "the rank's pid")
    groups = {group["group"]: group for group in warm.harness.link.request("n", "groups")}
    victim = {
        "client": groups["forked"]["pid"],
        "server": groups["warm"]["pid"],
        "rank": int(said[0]),
    }
    os.kill(victim[who], signal.SIGKILL)
    assert warm.harness.wait("exit", group="forked")["status"] != 0
    for pid in said:
        wait_until(partial(_is_gone, pid), f"{pid} is gone")


def test_random_numbers_differ_from_rank_to_rank(warm: Warm) -> None:
    (warm.work / "script.py").write_text("import random; print(random.random())\n")
    warm.fork(["script.py"], {}, ranks=4)
    warm.harness.wait("exit", group="forked")
    assert len({warm.log("forked", rank) for rank in range(4, 8)}) == 4


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("raise RuntimeError('not here')", "can't be imported: RuntimeError: not here"),
        (
            "import threading, time; threading.Thread(target=time.sleep, args=(600,)).start()",
            "an import left 1 threads running",
        ),
    ],
)
def test_what_must_not_be_forked_is_refused_with_the_reason(
    stack: SmallStack, module: str, reason: str
) -> None:
    (stack.folder / "strange.py").write_text(module + "\n")
    warm = Warm(stack, stack.up("n"), ["strange"], PYTHONPATH=str(stack.folder))
    assert reason in warm.refusal


def test_a_launcher_that_breaks_before_there_are_ranks_ends_as_torchrun_would(warm: Warm) -> None:
    # Where the logs' folder has to be.
    (warm.stack.folder / "forked").touch()
    warm.fork(["script.py"], {})
    assert warm.harness.wait("exit", group="forked")["status"] == 1
