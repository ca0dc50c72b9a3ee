"""Whose nodes must be its own."""

from __future__ import annotations

from typing import Any

import pytest

from metta_sandbox.play.isolation import why_isolated
from metta_sandbox.scenario.model import Scenario


def scenario(**keys: Any) -> Scenario:
    return Scenario.model_validate({"version": 1, "name": "one", **keys})


def test_plain_ones_take_turns() -> None:
    assert why_isolated(scenario()) == ""
    assert why_isolated(scenario(nodes=3, workload={"run": "true", "env": {"A": "1"}})) == ""


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (
            {"faults": [{"kill": {"node": "sweep-worker"}, "when": {"event": "train.step"}}]},
            "faults",
        ),
        ({"workload": {"run": "true", "setup": "true"}}, "setup"),
        ({"workload": {"run": "true", "image": "python:3.11"}}, "image"),
        ({"workload": {"run": "true", "requirements": ["rich"]}}, "packages"),
        ({"workload": {"run": "true", "mounts": [{"source": "x", "target": "/x"}]}}, "files"),
        ({"workload": {"run": "true", "network": "open"}}, "way out"),
        ({"credentials": True}, "credentials"),
        ({"hardware": "gpu"}, "GPUs"),
        ({"expect": [{"nothing_outside": True}]}, "watched"),
    ],
)
def test_all_others_have_nodes_of_their_own(keys: dict[str, Any], told: str) -> None:
    assert told in why_isolated(scenario(**keys))


@pytest.mark.parametrize("given", ["source", "credentials"])
def test_what_the_command_line_gives_to_nodes_counts_as_well(given: str) -> None:
    assert why_isolated(scenario(), **{given: True})
