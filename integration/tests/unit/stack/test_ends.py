from __future__ import annotations

import pytest

from metta_sandbox.stack.ends import container_status, describe_end, last_words


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


def test_last_words_are_neither_events_nor_hints_nor_nothing() -> None:
    assert last_words(["one", " two ", '{"event": "x"}', "  -> mend it", ""]) == "two"
    assert last_words(["", '{"event": "x"}']) == ""


def test_a_ruler_is_nobodys_last_word() -> None:
    assert (
        last_words(["boom at line 3", "============", '{"event": "x"}', "  "]) == "boom at line 3"
    )


@pytest.mark.parametrize(
    "told",
    [
        (
            "srun: error: n2: task 1: Exited with exit code 5",
            "slurmstepd: error: *** STEP 4.0 ON n",
        ),
        ("srun: error: n[1-2]: tasks 0-1: Segmentation fault", "srun: Terminating StepId=4.0"),
        (
            "-------------",
            "mpirun noticed that process rank 0 with PID 0 on node a exited on signal 6 (Abort).",
        ),
        ("the job to be terminated. The first process to do so was:", "", "  Exit code:    5"),
    ],
)
def test_what_a_launcher_says_of_its_children_is_nobodys_last_word(told: tuple[str, ...]) -> None:
    assert last_words(["boom at line 3", *told]) == "boom at line 3"


def test_what_a_launcher_says_of_itself_is() -> None:
    refused = "srun: error: Unable to allocate resources: Invalid partition name specified"
    assert last_words(["begins", refused]) == refused
