from __future__ import annotations

from dataclasses import replace

import pytest

from metta_sandbox.autopsy.calls import CurrentCall, Doing, reading
from metta_sandbox.autopsy.seen import Frame, Process, Thread, Wait

SITE = "/usr/lib/python3.11/site-packages"
C10D = f"{SITE}/torch/distributed/distributed_c10d.py"
LOGGED = f"{SITE}/torch/distributed/c10d_logger.py"


def frame(function: str, file: str, line: int = 1, source: str = "") -> Frame:
    return Frame(function=function, file=file, line=line, source=source)


MINE = frame("step", "/work/train.py", 40, "dist.all_reduce(x)")
MAIN = frame("<module>", "/work/train.py", 90, "step()")


def process(*frames: Frame, active: bool = False, state: str = "S", **others: Thread) -> Process:
    main = Thread(name="MainThread", id=7, active=active, frames=frames)
    return Process(pid=7, state=state, threads=(*others.values(), main))


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (
            [frame("all_reduce", C10D), frame("wrapper", LOGGED), MINE, MAIN],
            CurrentCall(Doing.COLLECTIVE, "all_reduce", "train.py:40", MINE.source),
        ),
        (
            [
                frame("broadcast", C10D),
                frame("wrapper", LOGGED),
                frame("broadcast_object_list", C10D),
                frame("wrapper", LOGGED),
                MINE,
            ],
            CurrentCall(Doing.COLLECTIVE, "broadcast_object_list", "train.py:40", MINE.source),
        ),
        (
            [
                frame("_create_c10d_store", f"{SITE}/torch/distributed/rendezvous.py"),
                frame("_env_rendezvous_handler", f"{SITE}/torch/distributed/rendezvous.py"),
                frame("init_process_group", C10D),
                MINE,
            ],
            CurrentCall(Doing.RENDEZVOUS, "init_process_group", "train.py:40", MINE.source),
        ),
        (
            [
                frame("_engine_run_backward", f"{SITE}/torch/autograd/graph.py"),
                frame("backward", f"{SITE}/torch/autograd/__init__.py"),
                MINE,
            ],
            CurrentCall(Doing.COLLECTIVE, "backward", "train.py:40", MINE.source),
        ),
        (
            [
                frame(
                    "_verify_param_shape_across_processes",
                    f"{SITE}/torch/distributed/utils.py",
                ),
                frame("__init__", f"{SITE}/torch/nn/parallel/distributed.py"),
                MINE,
            ],
            CurrentCall(
                Doing.COLLECTIVE, "DistributedDataParallel.__init__", "train.py:40", MINE.source
            ),
        ),
        (
            [frame("wait", "/usr/lib/python3.11/threading.py"), MINE],
            CurrentCall(Doing.LOCK, "wait", "train.py:40", MINE.source),
        ),
        (
            [frame("work", "/work/train.py", 12, "with lock:"), MAIN],
            CurrentCall(Doing.LOCK, "", "train.py:12", "with lock:"),
        ),
        (
            [frame("work", "/work/train.py", 12, "time.sleep(3600)"), MAIN],
            CurrentCall(Doing.IDLE, "", "train.py:12", "time.sleep(3600)"),
        ),
        (
            [
                frame("readinto", "/usr/lib/python3.11/socket.py"),
                frame("begin", "/usr/lib/python3.11/http/client.py"),
                frame("urlopen", f"{SITE}/urllib3/connectionpool.py"),
                MINE,
            ],
            CurrentCall(Doing.API, "readinto", "train.py:40", MINE.source),
        ),
        (
            [
                frame("wait", "/usr/lib/python3.11/threading.py"),
                frame("deliver", f"{SITE}/wandb/sdk/mailbox.py"),
                frame("finish", f"{SITE}/wandb/sdk/wandb_run.py"),
                MINE,
            ],
            CurrentCall(Doing.TRACKER, "wandb finish", "train.py:40", MINE.source),
        ),
    ],
    ids=lambda one: one.name if isinstance(one, CurrentCall) else "",
)
def test_a_stack_says_what_its_process_is_at(frames: list[Frame], expected: CurrentCall) -> None:
    assert replace(reading(process(*frames)), function="", inner="") == expected


def test_one_that_computes_is_busy() -> None:
    assert reading(process(MINE, MAIN, active=True)).doing is Doing.BUSY


def test_one_that_a_signal_stopped_is_stopped_wherever_it_is() -> None:
    call = reading(process(frame("all_reduce", C10D), MINE, state="T"))
    assert (call.doing, call.place) == (Doing.STOPPED, "train.py:40")


def test_one_whose_other_thread_holds_the_interpreters_lock_waits_for_that() -> None:
    holder = Thread(name="hog", id=8, owns_gil=True, active=True, frames=(MINE,))
    call = reading(process(frame("work", "/work/a.py", 2, "x = 1"), holder=holder))
    assert (call.doing, call.name, call.place) == (Doing.GIL, "hog", "train.py:40")


def test_without_a_stack_nothing_is_made_up() -> None:
    call = reading(Process(pid=1, threads_problem="Permission denied"))
    assert call == CurrentCall(Doing.UNKNOWN, place="Permission denied")
    empty = (Thread(name="MainThread", id=1),)
    call = reading(Process(pid=1, threads=empty, threads_problem="Permission denied"))
    assert call == CurrentCall(Doing.UNKNOWN, place="Permission denied")


def test_only_collectives_and_the_rendezvous_wait_for_others() -> None:
    waits = {doing for doing in Doing if CurrentCall(doing).waits_for_others}
    assert waits == {Doing.COLLECTIVE, Doing.RENDEZVOUS}


def test_one_that_sleeps_waits_for_no_lock_whatever_its_line_says() -> None:
    mine = frame("main", "/work/train.py", 11, 'time.sleep(float(os.environ.get("LATE")))')
    seen = process(mine)
    thread = seen.threads[0].model_copy(update={"waits": Wait(kind="sleep", call="sleep")})
    assert reading(seen).doing is Doing.LOCK
    assert reading(seen.model_copy(update={"threads": (thread,)})).doing is Doing.IDLE


def test_one_whose_other_thread_imports_with_the_interpreters_lock_is_starting() -> None:
    bootstrap = frame("_find_and_load", "<frozen importlib._bootstrap>")
    ahead = Thread(name="ahead", id=9, owns_gil=True, frames=(bootstrap, MINE))
    mine = frame("main", "/work/train.py", 11, "import wandb")
    assert reading(process(mine, ahead=ahead)).doing is Doing.STARTING
    computes = Thread(name="ahead", id=9, owns_gil=True, frames=(MINE,))
    assert reading(process(mine, ahead=computes)).doing is Doing.GIL


def test_one_that_joins_a_thread_that_gets_on_does_not_wait_for_its_lock() -> None:
    join = frame("Thread.join", "/usr/lib/python3.11/threading.py", 9, "lock.acquire()")
    mine = frame("main", "/work/train.py", 11, "fit.join()")
    fit = Thread(name="fit", id=9, owns_gil=True, moved=True, frames=(MINE,))
    assert reading(process(join, mine, fit=fit)).doing is Doing.LOCK
    stands = fit.model_copy(update={"moved": False})
    assert reading(process(join, mine, fit=stands)).doing is Doing.GIL
