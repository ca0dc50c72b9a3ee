"""What Python processes tell of their lives, however they were started and however they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from metta_sandbox import removing
from metta_sandbox.autopsy.lives import read_lives
from metta_sandbox.autopsy.seen import Raised, RecordedLife
from metta_sandbox.node.agent.injection.hook import exported, with_hook
from metta_sandbox.node.agent.told import FOLDER
from metta_sandbox.stack.agent_app import install

#: Seconds for an interpreter on a machine that has much else to do.
_PATIENCE = 60.0


class Job:
    """A user's command on a node, as far as it counts here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.app = install(folder / "app")
        self.run_folder = folder / "run"
        self.run_folder.mkdir()
        dropped = ("PYTHONPATH", "PYTHONSTARTUP", "RANK")
        self.environ = {key: os.environ[key] for key in os.environ if key not in dropped}
        self.environ |= {
            "METTA_AGENT": str(self.app),
            "METTA_EVENTS": f"{folder}/none",
            "METTA_NODE": "n",
            "METTA_RUN_FOLDER": str(self.run_folder),
            "METTA_RUN_ID": "my-run",
            "METTA_TRIAL": "3",
        }

    def start(self, python: str, script: str, **more: str) -> subprocess.Popen[str]:
        """Start a script as a task's own bash does."""
        file = self.folder / "script.py"
        file.write_text(script)
        command = ["bash", "-c", f"{exported()}{python} {file}; exit $?"]
        return subprocess.Popen(
            command,
            env={**self.environ, **more},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, python: str, script: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        with self.start(python, script, **more) as process:
            out, err = process.communicate(timeout=_PATIENCE)
        return subprocess.CompletedProcess([], process.returncode, out, err)

    @property
    def lives(self) -> tuple[RecordedLife, ...]:
        return read_lives(self.run_folder, "n")

    def life(self, python: str, script: str, **more: str) -> RecordedLife:
        """Run a script, and give the life of its own process."""
        self.run(python, script, **more)
        return self.lives[0]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def chain(raised: Raised | None) -> list[tuple[str, str]]:
    assert raised is not None
    return [(one.kind, one.message) for one in raised.chain]


_CHAIN = """\
import sys
sys.excepthook = lambda *told: print("my own hook")

def load():
    try:
        {}["DATASET"]
    except KeyError as error:
        raise RuntimeError("first line\\nsecond line") from error

load()
"""


def test_an_exception_is_kept_with_what_it_came_from(job: Job, any_python: str) -> None:
    done = job.run(any_python, _CHAIN, RANK="1", WORLD_SIZE="2", SECRET="x")
    assert (done.returncode, done.stdout, done.stderr) == (1, "my own hook\n", "")

    (life,) = job.lives
    assert chain(life.exception) == [
        ("KeyError", "'DATASET'"),
        ("RuntimeError", "first line\nsecond line"),
    ]
    assert life.exception is not None
    frames = life.exception.chain[1].frames
    assert [(one.function, one.line) for one in frames] == [("load", 8), ("<module>", 10)]
    assert frames[1].source == "load()"
    assert life.environ == {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "METTA_RUN_ID": "my-run",
        "METTA_TRIAL": "3",
    }
    assert (life.run, life.trial, life.exits) == ("my-run", 3, None)
    assert life.argv[-1].endswith("script.py")
    assert life.ended is not None
    assert life.started <= life.ended


_LOOKS = """\
import json, os, signal, sys, threading
print(json.dumps({
    "path": [each for each in sys.path if ".pyz" in each],
    "PYTHONPATH": os.environ["PYTHONPATH"].split(":")[1:],
    "modules": [each for each in sys.modules if each.startswith("metta_sandbox")],
    "threads": threading.active_count(),
    "term": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
    "hook": sys.excepthook is sys.__excepthook__,
    "first": os.open(".", 0),
}))
"""


def test_a_program_sees_hardly_anything_of_it(job: Job, any_python: str) -> None:
    done = job.run(any_python, _LOOKS, PYTHONPATH="/some/where")
    assert json.loads(done.stdout) == {
        "path": [],
        "PYTHONPATH": ["/some/where"],
        "modules": [],
        "threads": 1,
        "term": True,
        "hook": True,
        "first": 3,
    }
    (life,) = job.lives
    assert (life.exception, life.exits, life.groups, life.reaped) == (None, None, (), ())
    assert life.ended is not None


_FORKS = """\
import os
print(os.environ.get("PYTHONPATH"), flush=True)
if not os.fork():
    1 / 0
os.wait()
"""


def test_a_rank_of_ours_is_left_as_it_is_and_its_forks_go_on_telling(job: Job) -> None:
    file = job.folder / "rank.py"
    file.write_text(_FORKS)
    environ = with_hook(job.environ, str(job.app))
    done = subprocess.run(
        [sys.executable, str(file)], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout == "None\n"
    parent, child = job.lives
    assert child.parent == parent.pid
    assert chain(child.exception) == [("ZeroDivisionError", "division by zero")]
    assert parent.exception is None


_THREAD = """\
import threading, time
def reads():
    raise ValueError("a bad record")
reader = threading.Thread(target=reads, name="reader")
reader.start()
reader.join()
print("joined", flush=True); time.sleep(60)
"""


def test_a_threads_exception_is_told_at_once(job: Job, any_python: str) -> None:
    with job.start(any_python, _THREAD) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "joined\n"
        (life,) = job.lives
        (thread,) = life.threads
        os.kill(life.pid, signal.SIGTERM)
        _, err = process.communicate(timeout=_PATIENCE)
    (thread,) = life.threads
    assert thread.name == "reader"
    assert chain(thread.exception) == [("ValueError", "a bad record")]
    assert thread.exception.chain[0].frames[0].function == "reads"
    assert "Exception in thread reader" in err
    assert ".pyz" not in err
    (life,) = job.lives
    assert [(one.file.rpartition("/")[2], one.line) for one in life.terminated] == [
        ("script.py", 7)
    ]


_HIT = """\
import signal, threading, time
sleeper = threading.Thread(target=time.sleep, args=(60,), daemon=True)
sleeper.start()
signal.pthread_kill(sleeper.ident, signal.SIGTERM); time.sleep(60)
"""


def test_the_main_thread_is_told_of_whichever_the_signal_hit(job: Job, any_python: str) -> None:
    done = job.run(any_python, _HIT)
    assert done.returncode == 128 + signal.SIGTERM
    (life,) = job.lives
    assert [(one.file.rpartition("/")[2], one.line) for one in life.terminated] == [
        ("script.py", 4)
    ]
    ((*_, outermost),) = life.beside
    assert outermost.function == "_bootstrap"


@pytest.mark.parametrize(
    ("script", "exits", "place", "raised"),
    [
        ("import sys\nsys.exit()", 0, ("<module>", 2), []),
        ("import sys\ndef main(): sys.exit(4)\nmain()", 4, ("main", 2), []),
        ("import sys\ntry: 1 / 0\nexcept Exception: sys.exit(3)", 3, ("<module>", 3), ["1"]),
        ("import os\ntry: 1 / 0\nexcept Exception: os._exit(3)", 3, ("<module>", 3), ["1"]),
        ("import sys\nsys.exit('no data')", 1, ("<module>", 2), []),
    ],
)
def test_it_is_told_where_a_program_asked_for_its_end(
    job: Job, script: str, exits: int, place: tuple[str, int], raised: list[str]
) -> None:
    life = job.life(sys.executable, script)
    assert life.exits == exits
    assert life.exit_at is not None
    assert (life.exit_at.function, life.exit_at.line) == place
    assert bool(life.exception) == bool(raised)
    assert life.message == ("no data" if "no data" in script else "")


_CRASH = "import ctypes\ndef crash(): ctypes.string_at(0)\ncrash()\n"


def test_a_fatal_signal_leaves_its_stack_and_nothing_else_to_be_seen(
    job: Job, any_python: str
) -> None:
    done = job.run(any_python, _CRASH)
    assert done.returncode == 128 + signal.SIGSEGV
    assert "Fatal Python error" not in done.stderr
    (life,) = job.lives
    assert life.fatal_signal == "Segmentation fault"
    assert [one.function for one in life.fatal] == ["string_at", "crash", "<module>"]
    assert life.ended is not None


def test_a_fatal_signal_in_a_fork_is_the_forks(job: Job) -> None:
    job.run(sys.executable, f"import os\nif os.fork(): os.wait()\nelse:\n exec({_CRASH!r})")
    parent, child = job.lives
    assert child.parent == parent.pid
    assert (bool(parent.fatal), bool(child.fatal)) == (False, True)


def test_who_asks_for_stacks_by_itself_gets_them(job: Job) -> None:
    done = job.run(sys.executable, f"import faulthandler\nfaulthandler.enable()\n{_CRASH}")
    assert "Fatal Python error: Segmentation fault" in done.stderr
    assert job.lives[0].fatal == ()


_CHILDREN = """\
import multiprocessing, os, signal, subprocess, sys

def works(how):
    if how == "raises":
        raise LookupError("in a worker")
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1] if sys.argv[1:] else "fork")
    for how in ("raises", "is killed"):
        worker = multiprocessing.Process(target=works, args=(how,))
        worker.start()
        worker.join()
    subprocess.run(["bash", "-c", "exit 7"])
    subprocess.run(["true"], preexec_fn=lambda: None)
"""


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
def test_workers_tell_what_ended_them_and_parents_how_they_ended(
    job: Job, how: str, any_python: str
) -> None:
    job.run(any_python, _CHILDREN.replace('sys.argv[1] if sys.argv[1:] else "fork"', f'"{how}"'))
    lives = job.lives
    parent, workers = lives[0], [one for one in lives if one.exception]
    assert [chain(one.exception) for one in workers] == [[("LookupError", "in a worker")]]
    assert workers[0].exception is not None
    assert workers[0].exception.chain[0].frames[0].function == "works"
    ends = [(one.pid, one.status) for one in parent.reaped]
    assert ends[0] == (workers[0].pid, 1)
    assert [status for _, status in ends][1:] == [-signal.SIGKILL, 7, 0]
    assert parent.exception is None
    # What is about to run something else has no life of its own.
    assert len(lives) == (4 if how == "forkserver" else 3)


def test_who_closes_what_is_open_keeps_its_files(job: Job) -> None:
    script = (
        "import os\nos.closerange(3, 4096)\n"
        "files = [open(f'f{number}', 'w') for number in range(900)]\n1 / 0\n"
    )
    life = job.life(sys.executable, script)
    assert chain(life.exception) == [("ZeroDivisionError", "division by zero")]
    assert not any((job.folder / f"f{number}").stat().st_size for number in range(900))


def test_what_is_told_is_bounded(job: Job) -> None:
    life = job.life(sys.executable, "raise ValueError('a' * 10000 + 'b')")
    assert life.exception is not None
    message = life.exception.chain[0].message
    assert len(message) <= 2000
    assert (message[0], message[-1]) == ("a", "b")
    loop = "def call(): call()\ncall()"
    life = job.life(sys.executable, loop)
    for number in range(512):
        (job.run_folder / ".lives" / "n" / f"9{number}.jsonl").touch()
    before = len(job.lives)
    job.run(sys.executable, "1 / 0")
    assert len(job.lives) == before
    removing.remove(job.run_folder, FOLDER)
    assert job.lives == ()


@pytest.mark.parametrize("more", [{"METTA_RUN_FOLDER": "/proc/none"}, {"METTA_NODE": ""}])
def test_where_nothing_can_be_told_programs_run_as_ever(job: Job, more: Mapping[str, str]) -> None:
    done = job.run(sys.executable, "print('well')", **more)
    assert (done.returncode, done.stdout, done.stderr) == (0, "well\n", "")


def test_nothing_is_followed_and_nothing_but_plain_files_is_read(job: Job) -> None:
    life = job.life(sys.executable, "1 / 0")
    folder = job.run_folder / ".lives" / "n"
    (folder / "1.jsonl").symlink_to(folder / f"{life.pid}.jsonl")
    os.mkfifo(folder / "2.jsonl")
    (folder / "3.jsonl").write_text('{"at": 1, "start": [\n{"at":1,"start":3}\nnothing\n')
    (folder / "4.jsonl").write_text('{"at":1,"start":{"pid":"x"}}\n{"at":1,"end":{}}\n' * 3)
    (folder / "5.jsonl").mkdir()
    assert [one.pid for one in job.lives] == [life.pid]
    (job.run_folder / ".lives").rename(job.folder / "elsewhere")
    (job.run_folder / ".lives").symlink_to(job.folder / "elsewhere")
    assert job.lives == ()
