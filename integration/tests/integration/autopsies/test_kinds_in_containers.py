"""Kinds of faults between real containers: each happens, its cause is named, and it is gone."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from python_on_whales import DockerClient
from rich.console import Console

from autopsies.corpus import Known, once_each
from autopsies.playing import play
from autopsies.score import Scored, by_kind, each

#: What strikes a container as a whole, or its network. Processes within fare as those outside do.
_WHOLE = ("kill", "restart", "pause", "partition", "reset", "no_name")
_OF_CONTAINERS = tuple(
    one for one in once_each() if one.sweep == "of-containers" or one.key in _WHOLE
)
#: How many may not come out right, on machines that are so slow that they look as if they hung.
_LEEWAY = 3


def played(faults: Sequence[Known], docker: DockerClient, artifacts: Path) -> list[Scored]:
    """Play faults, and see that nothing of theirs is there any more."""
    scores = play(faults, "compose", artifacts)
    ours = f"--filter=label=dev.metta-sandbox.run={(artifacts / 'latest').resolve().name}"
    for what in (("ps", "--all"), ("network", "ls")):
        look = [*map(str, docker.docker_cmd), *what, "--quiet", ours]
        left = subprocess.run(look, capture_output=True, text=True, check=True).stdout
        assert not left, f"left: {left}"
    assert len(scores) == len(faults)
    return scores


@pytest.mark.timeout(1800)
def test_each_kind_of_fault_is_proven_and_its_cause_named(
    tmp_path: Path, docker: DockerClient
) -> None:
    scores = played(_OF_CONTAINERS, docker, tmp_path)

    console = Console(width=200, record=True)
    console.print(each(scores), by_kind(scores))
    told = console.export_text()
    for what in ("proven", "cause_right", "rank_right"):
        right = sum(getattr(one, what) for one in scores)
        least = len(scores) - _LEEWAY
        assert right >= least, f"{what}: {right} of {len(scores)}, fewer than {least}\n{told}"
