"""A rank that does not come: it waits, sleeps or works elsewhere, or meets elsewhere."""

from __future__ import annotations

from autopsies.ways.way import Way

WAITS = (
    Way("sleeps", ("back_off|{at}",), "time.sleep(3600)"),
    Way("swallowed_silence", ("synchronise|{at}",), "time.sleep(3600)", never=("KeyError",)),
    Way("busy", ("refine|{at}",), "x = x * 0.5 + 1"),
    Way("holds_gil", ("parse|{at}",), "return re.match("),
    Way("stops_itself", ("stopped|SIGSTOP",), "signal.SIGSTOP"),
    Way("stuck_import", ("read_table|{at}|heavy.py",), "heavy.py: time.sleep(3600)"),
    Way("lock_order", ("look_up|refresh|{at}",), 'name="refresher"'),
    Way("lock_twice", ("count|{at}",), "return step + 1"),
    Way("never_notified", ("await_weights|{at}",), "ready.wait()"),
    # Who has the lock waits for who wants it, which is a circle without a first.
    Way("file_lock", ("locked|{at}|cache.lock",), "fcntl.flock(", blame="anybody"),
    Way("child_stdin", ("cat|convert|{at}",), "child.wait()"),
    Way("child_sleeps", ("sleep 3600|upload|{at}",), "subprocess.run("),
    Way("full_pipe", ("measure|{at}",), "child.wait()"),
    Way("silent_service", ("ask|{at}",), "return caller.recv(100)"),
    Way("future_hangs", ("decode|{at}",), "time.sleep(0.5)"),
    Way("event_loop", ("next_shard|{at}",), "asyncio.run("),
    Way("fifo", ("read_labels|{at}|labels",), "with open(path)"),
    Way("reader_hangs", ("fetch|{at}",), "time.sleep(3600)"),
    Way("worker_hangs", ("__getitem__|{at}",), "time.sleep(3600)"),
    Way("late_thread", ("upload|{at}",), "time.sleep(3600)"),
    Way("never_comes", ("download|{at}",), "time.sleep(3600)", steps=False),
    Way(
        "shell_sleeps",
        ("shell_sleeps.sh|sleep|sleep 2",),
        launchers=("shell", "run-shell"),
        threads=False,
        lone=True,
        steps=False,
    ),
    Way("wrong_port", ("port|MASTER_PORT",), 'os.environ["MASTER_PORT"] =', steps=False),
    Way("wrong_size", ("WORLD_SIZE|world size",), 'os.environ["WORLD_SIZE"] =', steps=False),
    Way("no_such_host", ("sweep-mastr.invalid",), "sweep-mastr.invalid", steps=False),
    Way(
        "doubled_rank",
        ("rank|RANK", "both|twice|two|same|already|doubled"),
        'os.environ["RANK"] =',
        blame="odd or nobody",
        steps=False,
    ),
    # Only containers have another address than the loopback's.
    Way(
        "on_loopback",
        ("loopback|lo|127.0.0.1|GLOO_SOCKET_IFNAME",),
        "GLOO_SOCKET_IFNAME",
        engines=("compose",),
        lone=True,
        steps=False,
    ),
)
