from __future__ import annotations

from pathlib import Path

from metta_sandbox.autopsy.words import Exc, last_error, parse

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
    assert parse(PLAIN) == Exc(
        "RuntimeError",
        "[gloo/pair.cc:534] Connection closed by peer",
        "train.py:40",
        "main",
        "all_reduce",
        ("all_reduce", "wrapper", "main", "<module>"),
    )


def test_prefixes_of_launchers_are_left_out() -> None:
    for prefix in ("[rank1]: ", "[rank1]: [rank1]: [rank1]: "):
        prefixed = "".join(f"{prefix}{line}\n" for line in PLAIN.splitlines())
        assert parse(prefixed) == parse(PLAIN)


def test_of_several_it_is_the_last_which_ended_the_program() -> None:
    text = PLAIN + (
        "\nDuring handling of the above exception, another exception occurred:\n\n"
        'Traceback (most recent call last):\n  File "/work/b.py", line 2, in save\n    save()\n'
        "OSError: [Errno 28] No space left on device\n"
    )
    found = parse(text)
    assert found is not None
    assert str(found) == "OSError: [Errno 28] No space left on device"
    assert found.place == "b.py:2"


def test_one_without_a_message_and_one_that_is_cut_off() -> None:
    head = 'Traceback (most recent call last):\n  File "/work/b.py", line 2, in save\n    save()\n'
    found = parse(head + "KeyboardInterrupt\n")
    assert found is not None
    assert str(found) == "KeyboardInterrupt"
    assert parse(head) is None


def test_no_log_and_none_of_its_own_words_say_nothing(tmp_path: Path) -> None:
    assert last_error(tmp_path / "rank-0.log") is None
    (tmp_path / "rank-0.log").write_text('{"event": "train.step"}\n')
    assert last_error(tmp_path / "rank-0.log") is None


def test_without_a_traceback_it_is_the_last_line_that_is_no_hint(tmp_path: Path) -> None:
    (tmp_path / "rank-0.log").write_text("step 3\ntraining diverged: loss nan\n  -> lower it\n")
    assert last_error(tmp_path / "rank-0.log") == Exc("", "training diverged: loss nan")


def test_a_place_is_never_in_what_the_sandbox_put_into_a_rank() -> None:
    head = (
        'Traceback (most recent call last):\n  File "/work/train.py", line 7, in step\n    tell()\n'
    )
    for file in ("/x/metta_sandbox/node/agent/emitter.py", "/tmp/agent.pyz/emitter.py"):
        found = parse(f'{head}  File "{file}", line 216, in emit\n    wait()\nValueError: x\n')
        assert found is not None
        assert (found.place, found.call) == ("train.py:7", "emit")
