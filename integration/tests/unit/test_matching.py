"""Patterns are matched as ``re`` matches them, in bounded time."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from metta_sandbox.matching import Matcher, UnmatchedError
from metta_sandbox.matching_process import blocks

ENDLESS = "a" * 40 + "!"


@pytest.fixture
def matcher() -> Iterator[Matcher]:
    matcher = Matcher(seconds=0.5)
    yield matcher
    matcher.close()


@pytest.mark.parametrize(
    "pattern", ["b", "^$", r"(\d+)", "(?i)B", r"\udcff", "ä.c", "a|(b)", r"\s", r"x\Z", "(?m)^b"]
)
def test_the_same_lines_match_as_by_re(matcher: Matcher, pattern: str) -> None:
    lines = ["abc", "", "a1b22", "B\rb", "\udcff", "äbc", "x\n"]

    for whole in (False, True):
        look = re.compile(pattern).fullmatch if whole else re.compile(pattern).search
        expected = [(at, line, look(line)) for at, line in enumerate(lines) if look(line)]
        found = list(matcher.matches([pattern], lines, whole=whole))

        assert [(each.index, each.line) for each in found] == [one[:2] for one in expected]
        groups = [match.group(1) if match.re.groups else None for *_, match in expected if match]
        assert [each.group for each in found] == groups


def test_one_pattern_after_another(matcher: Matcher) -> None:
    found = matcher.matches(["a", "b", "c"], ["b", "a", "a", "b", "a", "c", "c", "b"])

    assert [each.index for each in found] == [1, 3, 5, 6]


def test_a_file_is_matched_in_batches(matcher: Matcher, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(b"line %d\n" % number for number in range(50_000)) + b"\xff")

    with path.open("rb") as file:
        batches = list(matcher.batches([r"9999$", r"0000$", "x"], file))

    assert len(batches) > 1
    assert sum(batch.count for batch in batches) == 50_001
    found = [match.index for batch in batches for match in batch.matches]
    assert found == [9_999, 10_000, 50_000]
    with path.open("rb") as file:
        assert [each.index for each in matcher.matches(["9"], file, most=2)] == [9, 19]
    assert len(matcher._started) == 1


def test_lines_of_text_have_their_ends(matcher: Matcher, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a\rb\r\na\n\na")

    with path.open("rb") as file:
        found = list(matcher.matches(["a"], file, text=True))

    assert [(each.index, each.line) for each in found] == [(0, "a\n"), (2, "a\n"), (4, "a")]


def test_whoever_has_seen_enough_may_leave(matcher: Matcher) -> None:
    first = next(matcher.matches(["a"], ["b", "a", "a"]))

    assert first.index == 1
    assert [each.index for each in matcher.matches(["b"], ["a", "b"])] == [1]


@pytest.mark.parametrize(
    ("pattern", "line", "where"),
    [
        ("^(a+)+$", ENDLESS, "this line within 0.5 s"),
        (r"(?:a|a)*b", "a" * 100, "this line within 0.5 s"),
        # A loop of re's that hears no signal: the process is killed.
        ("x*y", "x" * 3_000_000, "this line"),
    ],
)
def test_a_pattern_that_takes_for_ever_is_ended(
    matcher: Matcher, pattern: str, line: str, where: str
) -> None:
    with pytest.raises(UnmatchedError, match=where) as caught:
        list(matcher.matches([pattern], ["ok", "b", "xy", "more", line, "last"]))

    assert f"'{pattern}'" in caught.value.message
    assert "leave one" in caught.value.hint
    # Of a process that was killed, nobody knows the line.
    assert caught.value.index in ({0, 4} if pattern == "x*y" else {4})
    # It goes on with another process.
    assert [each.index for each in matcher.matches(["b"], ["a", "b"])] == [1]


def test_what_matched_before_is_told(matcher: Matcher) -> None:
    found = matcher.matches(["^(a+)+$"], ["aa", ENDLESS])

    assert next(found).line == "aa"
    with pytest.raises(UnmatchedError):
        next(found)


def test_all_batches_together_get_so_long(
    matcher: Matcher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("metta_sandbox.matching._ALL", 0.0)
    path = tmp_path / "log"
    path.write_bytes(b"a\n" * 200_000)

    said = "the lines up to this one within 0 s"
    with path.open("rb") as file, pytest.raises(UnmatchedError, match=said):
        list(matcher.matches(["b"], file))


@pytest.mark.parametrize("pause", [0.0, 0.01, 0.1])
def test_a_thread_that_waits_keeps_nobody_from_working(pause: float) -> None:
    matcher = Matcher(seconds=30)

    def wait() -> None:
        with suppress(UnmatchedError):
            list(matcher.matches(["^(a+)+$"], [ENDLESS]))

    thread = threading.Thread(target=wait)
    thread.start()
    while not any(each.busy for each in list(matcher._started)):
        threading.Event().wait(0.001)
    assert [each.index for each in matcher.matches(["b"], ["a", "b"])] == [1]
    threading.Event().wait(pause)
    matcher.close()
    thread.join(20)
    assert not thread.is_alive()


def test_nothing_is_left_of_it_when_its_user_is_killed() -> None:
    script = (
        "import os, signal; from metta_sandbox.matching import Matcher; m = Matcher(); m.start()\n"
        "print(m._idle[0]._process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    process = Path("/proc") / done.stdout.strip()

    for _ in range(1000):
        if not (process / "cmdline").exists() or not (process / "cmdline").read_bytes():
            break
        threading.Event().wait(0.02)
    else:
        pytest.fail(f"{process} still runs")


@pytest.mark.parametrize("text", ["", "\n", "a", "a\n", "a\n\nb", "\n\n", "x" * 200_000 + "\ny\n"])
def test_a_file_is_read_line_by_line(text: str) -> None:
    lines = [line for block in blocks(io.BytesIO(text.encode())) for line in block]

    assert lines == [line.rstrip("\n") for line in io.StringIO(text, newline="\n")]
