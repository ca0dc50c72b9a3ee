from __future__ import annotations

import pytest

from metta_sandbox.last_words import last_words

#: What torchrun says as one of its processes has failed.
TORCHRUN = """\
E1201 04:22:32.453000 15820 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 1)
Traceback (most recent call last):
  File "/usr/bin/torchrun", line 7, in <module>
    sys.exit(main())
             ^^^^^^
  File "/lib/torch/distributed/launcher/api.py", line 383, in launch_agent
    raise ChildFailedError(
torch.distributed.elastic.multiprocessing.errors.ChildFailedError: 
============================================================
train.py FAILED
------------------------------------------------------------
Failures:
  <NO_OTHER_FAILURES>
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-12-01_04:22:32
  host      : localhost
  rank      : 1 (local_rank: 0)
  exitcode  : 1 (pid: 15844)
  error_file: <N/A>
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
============================================================
""".splitlines()  # noqa: E501, W291 - as it is said


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


def test_what_torchrun_says_of_its_children_is_nobodys_last_word() -> None:
    raised = "[rank1]: KeyError: 'learning_rate'"
    assert last_words([raised, *TORCHRUN]) == raised
    assert last_words([raised, *TORCHRUN, "gave up"]) == "gave up"
    assert last_words(["again", *TORCHRUN, raised, *TORCHRUN]) == raised
    assert last_words(TORCHRUN[1:]).endswith("ChildFailedError:")
