from __future__ import annotations

from pathlib import Path

import pytest

from metta_sandbox.autopsy.seen import Raised, RaisedOne
from metta_sandbox.autopsy.words import Exc, last_error, last_said, of_raised, parse

PLAIN = """\
step 3
Traceback (most recent call last):
  File "/work/train.py", line 90, in <module>
    main()
  File "/work/train.py", line 40, in main
    dist.all_reduce(x)
  File "/usr/lib/python3.11/site-packages/torch/distributed/c10d_logger.py", line 83, in wrapper
    return func(*args, **kwargs)
           ^^^^^^^^^^^^^^^^^^^^^
  File "/x/site-packages/torch/distributed/distributed_c10d.py", line 3, in all_reduce
    work.wait()
RuntimeError: [gloo/pair.cc:534] Connection closed by peer
"""


def test_the_innermost_line_of_the_programs_own_code_is_named() -> None:
    found = parse(PLAIN)
    assert found is not None
    assert str(found) == "RuntimeError: [gloo/pair.cc:534] Connection closed by peer"
    assert (found.place, found.function, found.call) == ("train.py:40", "main", "all_reduce")
    assert found.calls == ("all_reduce", "wrapper", "main", "<module>")
    assert found.distributed


def test_prefixes_of_launchers_are_left_out() -> None:
    for prefix in ("[rank1]: ", "[rank1]: [rank1]: [rank1]: "):
        prefixed = "".join(f"{prefix}{line}\n" for line in PLAIN.splitlines())
        assert parse(prefixed) == parse(PLAIN)


def test_a_chain_is_told_from_its_root_and_names_what_it_ended_as() -> None:
    text = PLAIN + (
        "\nDuring handling of the above exception, another exception occurred:\n\n"
        'Traceback (most recent call last):\n  File "/work/b.py", line 2, in save\n    save()\n'
        "OSError: [Errno 28] No space left on device\n"
    )
    found = parse(text)
    assert found is not None
    assert found.kind == "RuntimeError"
    assert found.ended == "OSError: [Errno 28] No space left on device"


def test_of_two_that_are_not_one_chain_it_is_the_last() -> None:
    text = f"{PLAIN}step 4\nTraceback (most recent call last):\n{PLAIN_END}"
    found = parse(text)
    assert found is not None
    assert str(found) == "KeyError: 'lr'"


PLAIN_END = """\
  File "/work/b.py", line 2, in save
    save()
KeyError: 'lr'
"""


def test_one_that_was_survived_has_the_programs_words_behind_it() -> None:
    found = last_said([*PLAIN.splitlines(), "step 4", "this job's token has expired"])
    assert found == Exc("", "this job's token has expired", said="this job's token has expired")


def test_what_a_launcher_says_of_its_children_is_not_what_ended_them() -> None:
    report = (
        "E1128 22:10:31.158000 1 torch/distributed/elastic/multiprocessing/api.py:986] failed "
        "(exitcode: 1) local_rank: 0 (pid: 7)\nTraceback (most recent call last):\n"
        '  File "/bin/torchrun", line 8, in <module>\n    sys.exit(main())\n'
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n=====\n"
    )
    found = last_said([*f"[rank1]: {PLAIN_END}".splitlines(), *report.splitlines()])
    assert found == Exc("", "KeyError: 'lr'", said="KeyError: 'lr'")
    head = "Traceback (most recent call last):"
    found = last_said([head, *PLAIN_END.splitlines(), *report.splitlines()])
    assert found is not None
    assert str(found) == "KeyError: 'lr'"


@pytest.mark.parametrize(
    "said",
    [
        "train.sh: line 3: ./prepare: Permission denied",
        "bash: line 1: torchrunn: command not found",
        "/bin/sh: 1: nvidia-smi: not found",
    ],
)
def test_a_command_that_a_shell_could_not_run_counts(said: str) -> None:
    found = last_said(["step 1", said, "", "[W1128 22:10 x.cpp:7] bye"])
    assert found is not None
    assert str(found) == said


def test_a_workers_own_error_is_told_in_place_of_what_tells_of_it() -> None:
    message = (
        "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call "
        'last):\n  File "/x/site-packages/torch/utils/data/_utils/worker.py", line 1, in _loop\n'
        '    data = fetch()\n  File "/work/data.py", line 7, in __getitem__\n    raise\n'
        "ValueError: record 6 is short"
    )
    found = of_raised(Raised(chain=(RaisedOne(kind="ValueError", message=message),)))
    assert found is not None
    assert str(found) == "ValueError: record 6 is short"
    assert (found.place, found.where) == ("data.py:7", "in DataLoader worker process 0")


def test_a_worker_that_died_is_the_root_of_what_its_rank_met_meanwhile() -> None:
    """PyTorch raises it in the handler of a signal, while the rank reads from the dead worker."""
    gone = "DataLoader worker (pid 16600) is killed by signal: Segmentation fault. "
    met = RaisedOne(kind="ConnectionResetError", message="[Errno 104] Connection reset by peer")
    found = of_raised(Raised(chain=(met, RaisedOne(kind="RuntimeError", message=gone))))
    assert found is not None
    assert str(found) == f"RuntimeError: {gone.strip()}"
    assert found.ended == ""


def test_one_without_a_message_and_one_that_is_cut_off() -> None:
    head = 'Traceback (most recent call last):\n  File "/work/b.py", line 2, in save\n    save()\n'
    found = parse(head + "KeyboardInterrupt\n")
    assert found is not None
    assert str(found) == "KeyboardInterrupt"
    assert parse(head) is None


def test_no_log_and_none_of_its_own_words_say_nothing(tmp_path: Path) -> None:
    assert last_error(tmp_path, tmp_path / "rank-0.log") is None
    (tmp_path / "rank-0.log").write_text('{"event": "train.step"}\n')
    assert last_error(tmp_path, tmp_path / "rank-0.log") is None


def test_without_a_traceback_it_is_the_last_line_that_is_no_hint(tmp_path: Path) -> None:
    (tmp_path / "rank-0.log").write_text("step 3\ntraining diverged: loss nan\n  -> lower it\n")
    said = "training diverged: loss nan"
    assert last_error(tmp_path, tmp_path / "rank-0.log") == Exc("", said, said=said)


def test_a_place_is_never_in_what_the_sandbox_put_into_a_rank() -> None:
    head = (
        'Traceback (most recent call last):\n  File "/work/train.py", line 7, in step\n    tell()\n'
    )
    for file in ("/x/metta_sandbox/node/agent/emitter.py", "/tmp/agent.pyz/emitter.py"):
        found = parse(f'{head}  File "{file}", line 216, in emit\n    wait()\nValueError: x\n')
        assert found is not None
        assert (found.place, found.call) == ("train.py:7", "emit")


def test_a_peer_that_pytorch_can_not_find_is_kept_beside_what_was_said() -> None:
    line = (
        "[W1128 23:50:01.1 socket.cpp:764] [c10d] The IPv4 network addresses of (sweep-worker, "
        "37001) cannot be retrieved (gai error: -2 - Name or service not known)."
    )
    found = last_said(["meeting at 10.0.0.2", line, "still here"])
    assert found is not None
    assert (str(found), found.unreached) == ("still here", line)
