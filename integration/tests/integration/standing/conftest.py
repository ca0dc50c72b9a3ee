"""What tests of the standing stack share: a user with a home and a working copy, on each engine."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

#: Before any test has been kept from the engine.
ENVIRON = dict(os.environ)
PATIENCE = 120.0

ENGINES = ["process", pytest.param("compose", marks=pytest.mark.docker)]

#: A trainer of the user's own: it leaves a word in its log, and what it finds imported that only
#: the rollout and the bundled trainer need, and trains as that one does.
TRAINER = """\
import runpy
import sys
print("{word}", sorted({{"wandb", "mettagrid"}} & sys.modules.keys()), flush=True)
runpy.run_module("metta_sandbox.node.arena", run_name="__main__", alter_sys=True)
"""
#: Written into every file of the user's credentials, and looked for everywhere afterwards.
SECRET = "planted-4f9a1c"

SMALL = (
    "trainer.batch_size=64",
    "trainer.minibatch_size=32",
    "trainer.bptt_horizon=4",
    "trainer.update_epochs=1",
    "sweep.trials=1",
)
SHORT = (*SMALL, "trainer.total_timesteps=64")
ENDLESS = (*SMALL, "trainer.total_timesteps=100000000")


#: What CI plays on local processes, too; by night all of it is.
ON_BOTH = frozenset(
    {
        "test_up_twice_stop_twice",
        "test_what_was_killed_is_ill_and_up_starts_it_anew",
        "test_ctrl_c_leaves_nothing",
        "test_status_tells_all",
        "test_a_shell_sees_what_a_job_sees",
        "test_secrets_are_nowhere",
    }
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave most of what both engines do alike to containers, where it is not night."""
    for item in items:
        if not item.path.is_relative_to(Path(__file__).parent) or "[process" not in item.name:
            continue
        if isinstance(item, pytest.Function) and item.originalname not in ON_BOTH:
            item.add_marker(pytest.mark.slow)


def eventually(holds: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Look until something is so, and return it."""
    deadline = time.monotonic() + patience
    pause = threading.Event()
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what}"
        pause.wait(0.05)
    return found


@dataclass
class User:
    """Somebody with a home, a working copy and a standing stack of their own."""

    folder: Path
    engine: str
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    #: Credentials of standing stacks that are not this user's.
    others: frozenset[Path] = field(default_factory=lambda: frozenset(_staged()))

    def __post_init__(self) -> None:
        for name in ("home", "work", "cache"):
            (self.folder / name).mkdir(parents=True)
        self.trains("first word")

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def stack(self) -> Path:
        return self.state / "metta-sandbox" / "standing"

    def trains(self, word: str) -> None:
        """Change the trainer in the working copy."""
        (self.work / "train.py").write_text(TRAINER.format(word=word))

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in ENVIRON.items() if name not in {"CI", "NO_COLOR"}}
        kept |= {"XDG_STATE_HOME": str(self.state), "HOME": str(self.home)}
        # Docker's plugins and the image's cache are where the tester's home has them.
        home = Path(ENVIRON.get("HOME", "/root"))
        kept.setdefault("DOCKER_CONFIG", str(home / ".docker"))
        kept.setdefault("XDG_CACHE_HOME", str(home / ".cache"))
        if self.engine == "process":
            kept["DOCKER_HOST"] = "unix:///nonexistent/docker.sock"
        return kept

    def start(self, *words: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start a command as a terminal does: in a process group of its own."""
        process = subprocess.Popen(
            [sys.executable, "-m", "metta_sandbox", *words],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env=self.environ,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes], patience: float = PATIENCE) -> tuple[int, str]:
        """Wait for a command; return its exit status and what it said."""
        said = process.communicate(timeout=patience)[0].decode(errors="replace")
        self.said.append(said)
        return process.returncode, said

    def do(self, *words: str, stdin: str = "") -> tuple[int, str]:
        """Run a command; return its exit status and what it said."""
        process = self.start(*words, stdin=subprocess.PIPE)
        said = process.communicate(stdin.encode(), timeout=PATIENCE)[0].decode(errors="replace")
        self.said.append(said)
        return process.returncode, said

    def up(self, *words: str) -> str:
        process = self.start("up", "--engine", self.engine, *words)
        # The first one on an engine may have to wait until the image is made.
        status, said = self.end(process, 5 * PATIENCE)
        assert status == 0, said
        return said

    def status(self) -> tuple[int, dict[str, dict[str, Any]]]:
        """Return the exit status of ``status``, and its parts by host."""
        status, said = self.do("status", "--json")
        told = json.loads(said)
        assert told["well"] is (status == 0), said
        return status, {part["host"]: part for part in told["parts"]}

    def launch(self, *words: str) -> subprocess.Popen[bytes]:
        return self.start("launch", "sweep", *words)

    def training(self, process: subprocess.Popen[bytes], run: str) -> None:
        """Wait until a launch's trainers train."""

        def trains() -> bool:
            assert process.poll() is None, self.end(process)
            log = self.stack / "shared" / "trials" / run / "rank-0.log"
            return log.exists() and '"train.step"' in log.read_text()

        eventually(trains, f"{run} trains")

    def artifacts(self) -> Path:
        """Return what the newest run has left."""
        runs = (each for each in (self.folder / "artifacts").glob("2*") if not each.is_symlink())
        return max(runs, key=lambda each: each.stat().st_mtime)

    def stages(self) -> list[Path]:
        """Return where the credentials of this user's stack are."""
        return sorted(_staged() - self.others)

    def left(self) -> list[str]:
        """List what is left of the standing stack."""
        marks = [b"METTA_STACK=standing-", os.fsencode(self.state)]
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                environ = (entry / "environ").read_bytes()
            except OSError:
                continue
            if int(entry.name) != os.getpid() and all(mark in environ for mark in marks):
                found.append(entry.name)
        if self.stack.exists():
            found.append(str(self.stack))
        found += map(str, self.stages())
        if self.engine == "compose":
            found += containers("-a", "--filter", "label=com.docker.compose.project=metta")
            found += docker("network", "ls", "-q", "--filter", "name=metta_stack").split()
        return found


def _staged() -> set[Path]:
    return set(Path("/dev/shm").glob("metta-credentials-*/standing-*"))


def docker(*words: str) -> str:
    """Run ``docker`` as people do."""
    done = subprocess.run(
        ["docker", *words], env=ENVIRON, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def containers(*filters: str) -> list[str]:
    return docker("ps", "--format", "{{.Names}}", *filters).split()


def on_terminal(user: User, *words: str, typed: str, until: str) -> tuple[int, str]:
    """Run a command on a terminal, type something once it asks, and return what was to be seen."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(user.folder)
        command = [sys.executable, "-m", "metta_sandbox", *words]
        os.execve(sys.executable, command, {**user.environ, "TERM": "xterm"})
    seen, sent, deadline = "", False, time.monotonic() + PATIENCE
    try:
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    seen += os.read(terminal, 65536).decode(errors="replace")
                except OSError:  # the other end is closed
                    break
            if not sent and re.search(until, seen):
                os.write(terminal, typed.encode())
                sent = True
    finally:
        if not sent:
            os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(terminal)
    return status, seen


def _require_docker() -> None:
    try:
        docker("info")
    except AssertionError as error:
        if ENVIRON.get("CI", "").lower() == "true":
            raise
        pytest.skip(f"no Docker engine answers ({error})")


def make_user(folder: Path, engine: str) -> Iterator[User]:
    """Make a user, and leave nothing of theirs."""
    if engine == "compose":
        _require_docker()
    user = User(folder, engine)
    # A host has one standing stack of containers.
    with FileLock(f"/tmp/metta-standing-tests-{os.getuid()}-{engine}.lock"):
        if engine == "compose" and containers("-a", "--filter", "name=^metta-hub$"):
            pytest.skip("a standing stack is up on this engine")
        try:
            yield user
        finally:
            for process in user.started:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                if process.stdout:
                    process.stdout.close()
            user.do("stop")


@pytest.fixture(params=ENGINES)
def user(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[User]:
    """Somebody with nothing up yet, on each engine."""
    yield from make_user(tmp_path / "user", request.param)
