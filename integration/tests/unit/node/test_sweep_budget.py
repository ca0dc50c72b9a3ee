"""A sweep ends once its trials, also those it resumes from, have cost its budget."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from metta_sandbox.node.agent.emitter import Emitter
from metta_sandbox.node.control_plane import ControlPlane
from metta_sandbox.node.leader import Leader
from metta_sandbox.scenario.loading import parse


class Asked(Exception):  # noqa: N818 - no error, but the end of what is tested
    """The control plane was asked for the next run's name."""


def next_run(_: str) -> str:
    raise Asked


def leader(folder: Path, costs: list[float], budget: str) -> Leader:
    scenario = parse(
        f"version: 1\nname: x\nsweep: {{trials: 9, strategy: random{budget}}}", Path("x.yaml")
    )
    observed: list[dict[str, Any]] = [
        {"observation": {"overrides": {}, "score": 1.0, "cost": cost, "failed": False}}
        for cost in costs
    ]
    (folder / "observations.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in observed))
    plane = SimpleNamespace(sweep=lambda _: SimpleNamespace(exists=True), next_run=next_run)
    found = Leader(
        scenario,
        sweep="x",
        overrides={},
        run_folder=folder,
        control_plane=cast("ControlPlane", plane),
        emitter=cast("Emitter", SimpleNamespace(tell=lambda _: None)),
    )
    found.begin()
    return found


def test_nothing_is_proposed_once_the_budget_is_spent(tmp_path: Path) -> None:
    spent = leader(tmp_path, [60.0, 40.0], ", budget: 100")
    assert spent.propose().run == ""
    assert not spent.gave_up


@pytest.mark.parametrize("budget", [", budget: 100.5", ""])
def test_trials_go_on_until_then(tmp_path: Path, budget: str) -> None:
    with pytest.raises(Asked):
        leader(tmp_path, [60.0, 40.0], budget).propose()
