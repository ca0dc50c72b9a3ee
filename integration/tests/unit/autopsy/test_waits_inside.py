"""What a rank waits for inside of itself: made by hand, from the main thread to where it ends."""

from __future__ import annotations

from metta_sandbox.autopsy.calls import Doing
from metta_sandbox.autopsy.seen import Frame, Process, Thread
from metta_sandbox.autopsy.waits import Family, resolve

PYTHON = "/usr/lib/python3.11"
TORCH = f"{PYTHON}/site-packages/torch"


def frame(function: str, file: str, line: int = 1, source: str = "") -> Frame:
    return Frame(function=function, file=file, line=line, source=source)


def test_a_thread_that_is_joined_is_followed_to_the_worker_that_it_waits_for() -> None:
    joins = (
        frame("Thread.join", f"{PYTHON}/threading.py"),
        frame("main", "/work/train.py", 60, "fit.join()"),
    )
    loads = (
        frame("Queue.get", f"{PYTHON}/multiprocessing/queues.py"),
        frame("_get_data", f"{TORCH}/utils/data/dataloader.py"),
        frame("fit", "/work/train.py", 24, "for x in loader:"),
    )
    sleeps = (
        frame("Samples.__getitem__", "/work/data.py", 18, "time.sleep(3600)"),
        frame("fetch", f"{TORCH}/utils/data/_utils/fetch.py"),
        frame("_worker_loop", f"{TORCH}/utils/data/_utils/worker.py"),
    )
    main = Thread(name="MainThread", id=1, frames=joins)
    rank = Process(pid=1, threads=(main, Thread(name="fit", id=2, frames=loads)))
    # Forked from that thread, it has its name.
    worker = Process(pid=3, parent=1, threads=(Thread(name="fit", id=3, frames=sleeps),))

    call = resolve(Family(rank, {1: (worker,)}))

    assert (call.doing, call.place) == (Doing.IDLE, "data.py:18")
    assert call.thread == "data loader worker, pid 3"
    assert call.at == "train.py:60, and its thread `fit` at train.py:24"


def test_a_thread_that_serves_a_library_is_not_what_an_idle_main_thread_waits_for() -> None:
    sleeps = (frame("main", "/work/train.py", 60, "time.sleep(0.1)"),)
    reduces = (
        frame("all_reduce", f"{TORCH}/distributed/distributed_c10d.py", 1, "work.wait()"),
        frame("fit", "/work/train.py", 24, "dist.all_reduce(x)"),
    )
    main = Thread(name="MainThread", id=1, frames=sleeps)

    def found(name: str) -> Doing:
        threads = (main, Thread(name=name, id=2, frames=reduces))
        return resolve(Family(Process(pid=1, threads=threads), {})).doing

    assert found("fit") is Doing.COLLECTIVE
    assert found("wandb-sender") is Doing.IDLE
