"""Lines and ends as ``sky logs`` shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from metta_sandbox.play.task_log import TaskLog
from metta_sandbox.skypilot.logs import end_of_job, end_of_setup, prefix
from metta_sandbox.skypilot.played import SkyPilot

TASK = SkyPilot(name="train", cluster="c")
IPS = ["10.0.0.1", "10.0.0.2"]


@pytest.mark.parametrize(
    ("rank", "ips", "setup", "said"),
    [
        (0, IPS, False, "(head, rank=0, pid=7)"),
        (1, IPS, False, "(worker1, rank=1, pid=7, ip=10.0.0.2)"),
        (0, IPS[:1], False, "(train, pid=7)"),
        (0, IPS, True, "(setup pid=7)"),
        (1, IPS, True, "(setup pid=7, ip=10.0.0.2)"),
    ],
)
def test_a_line_says_whose_it_is(rank: int, ips: list[str], setup: bool, said: str) -> None:
    assert prefix(TASK, rank, ips, 7, setup=setup) == said


def test_a_task_without_a_name_is_called_task() -> None:
    assert prefix(SkyPilot(cluster="c"), 0, IPS[:1], 7, setup=False) == "(task, pid=7)"


def test_how_a_job_ended() -> None:
    assert end_of_job([0, 0]) == "Job finished (status: SUCCEEDED)."
    assert end_of_job([1]) == "ERROR: Job 1 failed with return code list: [1]"
    assert end_of_job([1, None]).startswith("ERROR: Job 1 failed with return code list: [1, 137] (")
    assert end_of_job([0, -11]).endswith("[0, 139] (likely due to a segmentation fault)")
    assert end_of_job([-9, -9]).endswith("[137, 137]")


def test_how_setup_failed() -> None:
    assert end_of_setup([(7, 0), (8, 0)]) == ""
    assert end_of_setup([(7, 137), (8, 2)]) == (
        "ERROR: Job 1's setup failed. Failed workers: (pid=8, returncode=2)."
    )


def test_a_log_has_all_lines_and_the_end(tmp_path: Path) -> None:
    heard: list[str] = []
    log = TaskLog(TASK, ["sweep-master", "sweep-worker"], tmp_path / "run.log", heard.append)
    for rank, host in enumerate(["sweep-master", "sweep-worker"]):
        log.started(host, 7 + rank, IPS, setup=False)
    log.line("sweep-worker", "hello", setup=False)
    log.line("dummy-api", "no node's", setup=False)
    log.ended("sweep-worker", 3, setup=False)
    log.close()

    assert heard == (tmp_path / "run.log").read_text().splitlines()
    assert heard[0] == "(worker1, rank=1, pid=8, ip=10.0.0.2) hello"
    assert heard[1].startswith("ERROR: Job 1 failed with return code list: [137, 3]")
    assert len(heard) == 2
