"""A rank's last collectives outlive it, whatever ends it."""

from __future__ import annotations

import os
from pathlib import Path

from metta_sandbox.autopsy.lives import read_lives
from metta_sandbox.autopsy.seen import Recorded
from metta_sandbox.node.agent.recorder.last_calls import SLOTS, SUFFIX, LastCalls
from metta_sandbox.node.agent.told import FOLDER


def _call(number: int, deep: int = 3) -> dict[str, object]:
    frame = {"function": "train", "file": f"/{'long' * 20}/train.py", "line": number}
    return {
        "time": 1000 + number,
        "group": "0",
        "number": number,
        "name": "all_reduce",
        "sizes": [[2, 3]],
        "dtypes": ["Float"],
        "stack": [frame] * deep,
        "group_ranks": [0, 1],
    }


def _node(run: Path) -> Path:
    folder = run / FOLDER / "sweep-worker"
    folder.mkdir(parents=True)
    start = f'{{"at":1.5,"start":{{"pid":{os.getpid()},"environ":{{"RANK":"1"}}}}}}\n'
    (folder / f"{os.getpid()}.jsonl").write_text(start)
    return folder


def _read(run: Path) -> Recorded:
    recorded = read_lives(run, "sweep-worker")[0].recorded
    assert recorded is not None
    return recorded


def test_the_last_calls_are_kept_the_oldest_first(tmp_path: Path) -> None:
    calls = LastCalls(str(_node(tmp_path)))
    for number in range(1, SLOTS + 4):
        calls.keep(_call(number))

    recorded = _read(tmp_path)

    assert recorded.partial
    assert [one.number for one in recorded.entries] == list(range(4, SLOTS + 4))
    assert recorded.stacks[recorded.entries[-1].stack][0].line == SLOTS + 3
    assert recorded.entries[0].sizes == ((2, 3),)


def test_a_long_stack_is_cut_and_no_call_is_lost(tmp_path: Path) -> None:
    calls = LastCalls(str(_node(tmp_path)))
    call = _call(1, deep=40)
    call["stack"] = [{"function": "f", "file": "x" * 600, "line": 1}] * 40

    calls.keep(call)

    assert len(_read(tmp_path).stacks[0]) == 4


def test_a_child_has_a_file_of_its_own(tmp_path: Path) -> None:
    folder = _node(tmp_path)
    calls = LastCalls(str(folder))
    calls.keep(_call(1))

    child = os.fork()
    if child == 0:
        calls.keep(_call(2))
        os._exit(0)
    os.waitpid(child, 0)

    assert (folder / f"{child}{SUFFIX}").exists()
    assert [one.number for one in _read(tmp_path).entries] == [1]


def test_a_file_that_the_program_has_in_its_place_stays_as_it_is(tmp_path: Path) -> None:
    calls = LastCalls(str(_node(tmp_path)))
    calls.keep(_call(1))
    mine = os.open(tmp_path / "mine", os.O_RDWR | os.O_CREAT)
    os.dup2(mine, calls._file)

    calls.keep(_call(2))

    assert (tmp_path / "mine").read_bytes() == b""
    os.close(calls._file)
    os.close(mine)


def test_what_is_no_call_is_left_out(tmp_path: Path) -> None:
    folder = _node(tmp_path)
    LastCalls(str(folder)).keep(_call(1))
    file = folder / f"{os.getpid()}{SUFFIX}"
    call = file.read_bytes()
    endless = call.replace(b'"time": 1001', b'"time": Infinity')
    assert endless != call
    file.write_bytes(call + endless + b'{"time": "x"}\n[[[\n{"time": 3, "stack": 7}\n')

    assert [one.number for one in _read(tmp_path).entries] == [1]
