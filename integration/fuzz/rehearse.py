"""A program played by plain processes, without the sandbox, to see that it does as believed.

Ranks are forked from a process that has imported torch. Whatever still runs when the time is up
shows the stacks of all its threads, and is killed.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from fuzz.program import RandomProgram
from metta_sandbox.ports import HeldPort


@dataclass(frozen=True)
class Rehearsal:
    """How each rank ended, and all that it printed, stacks included."""

    #: Negative: the signal. None: it still ran.
    statuses: tuple[int | None, ...]
    printed: tuple[str, ...]

    @property
    def completed(self) -> bool:
        """Whether every rank came to its end."""
        return all(status == 0 for status in self.statuses)

    def shows(self, place: str) -> bool:
        """Whether some traceback or stack has this ``file:line``."""
        file, _, line = place.partition(":")
        wanted = f'{file}", line {line} '
        comma = f'{file}", line {line},'
        end = f'{file}", line {line}\n'
        return any(word in text for text in self.printed for word in (wanted, comma, end))


def put(program: RandomProgram, folder: Path) -> Path:
    """Write a program's files into a folder, and make it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in program.files.items():
        (folder / name).write_text(text)
    return folder


def rehearse(program: RandomProgram, folder: Path, seconds: float) -> Rehearsal:
    """Play a program as plain processes for so long at most, in a folder that it is put into."""
    put(program, folder)
    port = HeldPort()
    ranks = [_fork(program, folder, rank, port.number) for rank in range(program.world)]
    statuses: list[int | None] = [None] * program.world
    end = time.monotonic() + seconds
    while time.monotonic() < end and None in statuses:
        _reap(ranks, statuses)
        time.sleep(0.05)
    for pid, status in zip(ranks, statuses, strict=True):
        if status is None:
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGUSR1)
    time.sleep(0.5 if None in statuses else 0)
    for pid in ranks:
        # Its children, too: each rank is the first of a group.
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    for pid, status in zip(ranks, statuses, strict=True):
        if status is None:
            os.waitpid(pid, 0)
    printed = [(folder / f"rank-{rank}.log").read_text() for rank in range(program.world)]
    return Rehearsal(tuple(statuses), tuple(printed))


def _reap(ranks: list[int], statuses: list[int | None]) -> None:
    for at, pid in enumerate(ranks):
        if statuses[at] is None:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                statuses[at] = os.waitstatus_to_exitcode(status)


def _fork(program: RandomProgram, folder: Path, rank: int, port: int) -> int:
    """Start a rank; returns its process."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setpgid(0, 0)
        _become(program, folder, rank, port)
        status = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - a fork must never go on in here
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(status)


def _become(program: RandomProgram, folder: Path, rank: int, port: int) -> None:
    log = os.open(folder / f"rank-{rank}.log", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout = open(1, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False, encoding="utf-8")  # noqa: SIM115
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
    given = {"RANK": rank, "WORLD_SIZE": program.world, "LOCAL_RANK": rank, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in given.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", OMP_NUM_THREADS="1")
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.argv = ["train.py"]
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)
    code = compile((folder / "train.py").read_text(), str(folder / "train.py"), "exec")
    sys.modules["__main__"].__dict__.update(__name__="train", __file__=str(folder / "train.py"))
    exec(code, sys.modules["__main__"].__dict__)  # noqa: S102 - it is our own program
    sys.modules["__main__"].__dict__["train"]()
