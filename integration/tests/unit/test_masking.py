"""Secrets are found in every form that programs write them in, and across borders."""

import base64
import html
import json
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from metta_sandbox import masking
from metta_sandbox.masking import MaskedStream, Masker
from metta_sandbox.report.hiding import hide_in
from metta_sandbox.safe_text import for_json

TOKEN = "gh/p+\"s'ecrét & <0123>\\x"
PLAIN = "hunter2-hunter2"
BOTH = Masker([TOKEN, PLAIN])


@pytest.mark.parametrize("value", [TOKEN, PLAIN])
@pytest.mark.parametrize(
    "write",
    [
        str,
        json.dumps,
        lambda value: json.dumps(value, ensure_ascii=False),
        repr,
        html.escape,
        quote,
        quote_plus,
        lambda value: quote(value, safe=""),
        lambda value: quote(value, safe="").lower().replace(value.lower(), value),
    ],
)
def test_every_way_to_write_it_is_hidden(value: str, write: object) -> None:
    assert callable(write)
    told = f"a {write(value)} z"
    shown = BOTH.mask_text(told)
    assert shown.startswith("a ")
    assert shown.endswith(" z")
    assert "***" in shown or write is not str
    assert "cr" not in shown.lower()
    assert "hunter" not in shown


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_is_hidden_wherever_it_begins(before: int, encode: object) -> None:
    assert callable(encode)
    told = encode(b"x" * before + PLAIN.encode() + b" and more").decode()
    shown = BOTH.mask_text(told)
    assert "***" in shown
    first, last = -(-before * 8 // 6), (before + len(PLAIN)) * 8 // 6
    assert not any(told[at : at + 6] in shown for at in range(first, last - 6))


@pytest.mark.parametrize("before", range(0, 90, 7))
@pytest.mark.parametrize("size", [64, 93, 400])
def test_base64_is_hidden_that_is_written_in_lines(before: int, size: int) -> None:
    choose = random.Random(size)
    token = "".join(choose.choice("abcdefghijklmnop0123456789") for _ in range(size))
    known, encoded = Masker([token]), base64.b64encode(b"x" * before + token.encode() + b"\n")
    lines = [encoded[at : at + 76] for at in range(0, len(encoded), 76)]
    data = b"said: x\n" + b"\n".join(lines) + b"\nplain words\n"
    shown = known.mask(data)
    first, last = -(-before * 8 // 6), (before + size) * 8 // 6
    for at in range(0, last, 76):
        part = encoded[max(first, at) : min(last, at + 76)]
        # A few letters at the end of a line may be anybody's.
        assert len(part) < 16 + 4 or part not in shown
    assert b"said: x" in shown
    assert b"plain words" in shown
    for pause in (7, 20, 76, 99):
        stream = MaskedStream(known)
        pieces = [data[at : at + pause] for at in range(0, len(data), pause)]
        assert b"".join([*map(stream.feed, pieces), stream.finish()]) == shown


def test_a_key_of_several_lines_is_hidden_line_by_line() -> None:
    key = "-----BEGIN KEY-----\nabcdefghijkl\nmnopqrstuvwx\n-----END KEY-----\n"
    shown = Masker([key]).mask_text(f"1 mnopqrstuvwx 2 {json.dumps(key)}")
    assert shown == '1 *** 2 "-----BEGIN KEY-----\\n***\\n***\\n-----END KEY-----\\n"'


def test_what_is_short_is_left_alone() -> None:
    assert not Masker(["short", ""])
    assert Masker(["short"]).mask_text("short") == "short"


def test_the_longest_of_values_that_begin_alike_is_hidden() -> None:
    known = Masker(["12345678", "12345678-abcdefgh"])
    stream = MaskedStream(known)
    told = stream.feed(b"x 12345678") + stream.feed(b"-abcdefgh 12345678") + stream.finish()
    assert told == b"x *** ***"


def test_values_that_overlap_are_hidden_as_one() -> None:
    known = Masker(["abcdefgh12", "12345678"])
    stream = MaskedStream(known)
    assert known.mask(b"x abcdefgh12345678 y") == b"x *** y"
    told = stream.feed(b"x abcdefgh12") + stream.feed(b"345678 y") + stream.finish()
    assert told == b"x *** y"


@pytest.mark.parametrize("seed", range(20))
def test_borders_of_pieces_change_nothing(seed: int) -> None:
    choose = random.Random(seed)
    words = [PLAIN, TOKEN, quote(TOKEN), PLAIN[:-1], "hunter2-", "\n", "plain", "12"]
    data = "".join(choose.choice(words) for _ in range(60)).encode()
    stream, told, at = MaskedStream(BOTH), b"", 0
    while at < len(data):
        size = choose.randint(1, 12)
        told += stream.feed(data[at : at + size])
        at += size
    assert told + stream.finish() == BOTH.mask(data)


def test_a_line_is_written_as_soon_as_it_is_whole() -> None:
    stream = MaskedStream(BOTH)
    assert stream.feed(b"a hunter2-\n") == b"a hunter2-\n"
    assert stream.feed(b"a hunter2-") == b"a "
    assert stream.feed(b"x") == b"hunter2-x"


def test_plain_data_is_hidden_text_by_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_masker", Masker())
    data = {"a": [PLAIN, 1.5, None], PLAIN: (f"x{PLAIN}",)}
    assert masking.masked_data(data) is data
    masking.hide([PLAIN, "few"])
    assert masking.masked_data(data) == {"a": ["***", 1.5, None], "***": ("x***",)}
    assert PLAIN not in for_json(data)


def test_text_is_masked_and_what_is_no_text_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "deep" / PLAIN).mkdir(parents=True)
    outside = tmp_path / "outside.log"
    outside.write_text(PLAIN)
    (folder / "link.log").symlink_to(outside)
    os.mkfifo(folder / "fifo.log")
    log = folder / "deep" / "rank-0.log"
    log.write_text("x" * (2**20 - 4) + PLAIN + "\n\0end\n")
    log.chmod(0o440)
    (folder / "deep" / PLAIN / f"{PLAIN}.txt").write_text("nothing")
    (folder / "run.wandb").write_bytes(b"\0" + PLAIN.encode())
    (folder / "clean.pt").write_bytes(b"\0 clean")
    with sqlite3.connect(folder / "state.sqlite3") as base:
        base.execute("create table t (v)")
        base.execute("insert into t values (?)", (PLAIN,))
    base.close()
    assert hide_in(folder, BOTH) == ("run.wandb", "state.sqlite3")
    assert log.read_text() == "x" * (2**20 - 4) + "***\n\0end\n"
    assert log.stat().st_mode & 0o777 == 0o440
    assert outside.read_text() == PLAIN
    assert (folder / "deep" / "***" / "***.txt").read_text() == "nothing"
    assert sorted(each.name for each in folder.iterdir()) == [
        "clean.pt", "deep", "fifo.log", "link.log"
    ]  # fmt: skip


def test_without_secrets_nothing_is_read(tmp_path: Path) -> None:
    assert hide_in(tmp_path / "not there", Masker()) == ()


def test_what_cannot_be_changed_keeps_nothing_else_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        (tmp_path / f"{name}.log").write_text(PLAIN)
    rename = os.rename

    def fail_once(source: str, target: str, **places: int) -> None:
        if target == "a.log":
            raise PermissionError(1, "not permitted")
        rename(source, target, **places)

    monkeypatch.setattr(os, "rename", fail_once)
    with pytest.raises(PermissionError):
        hide_in(tmp_path, BOTH)
    assert [(tmp_path / f"{name}.log").read_text() for name in "abc"] == [PLAIN, "***", "***"]
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("where", ["main", "thread"])
def test_a_fault_of_ours_tells_no_secret_on_whatever_thread_it_is(where: str) -> None:
    program = """
import sys, threading
from metta_sandbox import cli, masking
masking.hide(["hunter2-hunter2"])
def fault():
    raise LookupError("no hunter2-hunter2 \\x1b[2J here")
def app():
    thread = threading.Thread(target=fault)
    fault() if sys.argv[1] == "main" else (thread.start(), thread.join())
cli.app = app
cli.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, where], capture_output=True, text=True, check=False
    )
    assert "LookupError: no " in done.stderr
    assert "hunter2" not in done.stderr.partition("LookupError")[2]
    assert "\x1b" not in done.stderr


def test_a_thread_that_is_ended_by_systemexit_says_nothing() -> None:
    """So end threads whose time is over; see ``limits``."""
    program = """
import sys, threading
from metta_sandbox import cli
def app():
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
cli.app = app
cli.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
