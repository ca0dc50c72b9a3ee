from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metta_sandbox.wandb_file import BLOCK_SIZE, WandbFileError, log_records, read_run

Framed = Callable[[Iterable[bytes]], bytes]


@settings(deadline=None, max_examples=50)
@given(sizes=st.lists(st.integers(0, 3 * BLOCK_SIZE), max_size=6))
def test_records_of_any_size_come_back_whole(framed: Framed, sizes: list[int]) -> None:
    records = [bytes([number % 251]) * size for number, size in enumerate(sizes)]

    assert list(log_records(framed(records))) == records


@pytest.mark.parametrize("room", range(9))
def test_a_record_begins_anywhere_near_the_end_of_a_block(framed: Framed, room: int) -> None:
    first = b"x" * (BLOCK_SIZE - 7 - 7 - room)

    assert list(log_records(framed([first, b"second"]))) == [first, b"second"]


def test_every_truncation_gives_what_is_whole_and_says_so(
    tmp_path: Path, framed: Framed, wandb_records: Callable[..., list[bytes]]
) -> None:
    rows = [{"_step": n, "reward": n} for n in range(5)]
    records = wandb_records("s.r.1", history=rows)
    data = framed(records)
    ends = [len(framed(records[:count])) for count in range(len(records) + 1)]
    file = tmp_path / "run-s.r.1.wandb"
    for length in range(len(data)):
        file.write_bytes(data[:length])
        run = read_run(file.parent, file)
        whole = sum(end <= length for end in ends) - 1
        assert run.truncated == (length not in ends)
        assert len(run.history) == max(0, min(5, whole - 2))
        assert run.id == ("s.r.1" if whole >= 2 else "")
        assert run.exit_code is None


def test_a_flipped_bit_ends_the_reading(
    tmp_path: Path, framed: Framed, wandb_records: Callable[..., list[bytes]]
) -> None:
    records = wandb_records("s.r.1", history=[{"reward": 1}, {"reward": 2}])
    data = bytearray(framed(records))
    data[len(framed(records[:3])) + 9] ^= 1
    file = tmp_path / "run-s.r.1.wandb"
    file.write_bytes(data)

    run = read_run(file.parent, file)

    assert run.truncated
    assert run.history == ({"reward": 1},)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"PK\x03\x04 zip file", "not an offline W&B run"), (b":W&B\xe1\xbe\x07", "format version 7")],
)
def test_another_format_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "run-x.wandb"
    file.write_bytes(content)

    with pytest.raises(WandbFileError, match=message):
        read_run(file.parent, file)


def test_records_that_are_not_wandbs_are_refused(tmp_path: Path, framed: Framed) -> None:
    file = tmp_path / "run-x.wandb"
    file.write_bytes(framed([b"\xff\xff\xff\xff"]))

    with pytest.raises(WandbFileError, match="not W&B's"):
        read_run(file.parent, file)


def test_a_config_that_changes_is_told_as_it_ends(tmp_path: Path, framed: Framed) -> None:
    from wandb.proto import wandb_internal_pb2 as proto  # noqa: PLC0415

    opened, changed = proto.Record(), proto.Record()
    opened.run.config.update.add(key="a", value_json='{"b": 1, "c": 2}')
    opened.run.config.update.add(key="gone", value_json="1")
    changed.config.update.add(nested_key=["a", "b"], value_json="7")
    changed.config.update.add(nested_key=["new", "deep"], value_json="true")
    changed.config.remove.add(key="gone")
    changed.config.remove.add(nested_key=["a", "c"])
    file = tmp_path / "run-x.wandb"
    file.write_bytes(framed([opened.SerializeToString(), changed.SerializeToString()]))

    assert read_run(file.parent, file).config == {"a": {"b": 7}, "new": {"deep": True}}


def test_wandb_is_imported_only_when_a_run_is_read() -> None:
    code = "import metta_sandbox.wandb_file, sys; print('wandb' in sys.modules)"

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "False"
