from __future__ import annotations

import pytest

from metta_sandbox.stack.ends import container_status, describe_end


@pytest.mark.parametrize(
    ("status", "said", "out_of_memory", "words"),
    [
        (0, "", False, "exited with status 0"),
        (3, "cannot listen", False, "exited with status 3, saying: cannot listen"),
        (124, "", False, "exited with status 124, as `timeout` does when the time is up"),
        (-11, "fault", False, "was killed by signal 11, saying: fault"),
        (-9, "step 7", False, "was killed by signal 9"),
        (-9, "", True, "was killed by signal 9, out of memory"),
    ],
)
def test_an_end_in_words(status: int, said: str, out_of_memory: bool, words: str) -> None:
    assert describe_end(status, said, out_of_memory=out_of_memory) == words


def test_long_words_are_cut() -> None:
    assert len(describe_end(1, "x" * 10_000)) < 400


@pytest.mark.parametrize(("status", "same"), [(0, 0), (1, 1), (128, 128), (137, -9), (143, -15)])
def test_the_status_of_a_container_tells_its_signal(status: int, same: int) -> None:
    assert container_status(status) == same
