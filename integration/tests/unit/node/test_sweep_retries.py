"""A trial that failed is tried again; a sweep goes on from its observations as it would have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.node import leader as module
from metta_sandbox.node.agent.emitter import Emitter
from metta_sandbox.node.agent.events import KnownEvent
from metta_sandbox.node.control_plane import ControlPlane
from metta_sandbox.node.handoff import Outcome
from metta_sandbox.node.leader import Leader
from metta_sandbox.scenario.loading import parse

SPACE = "lr: {distribution: log_normal, min: 0.001, max: 1}, n: {values: [1, 2, 3, 4]}"


class Tracked:
    """Keeps no W&B run."""

    #: Runs that get lost as they are ended.
    lost: ClassVar[set[str]] = set()

    def __init__(self, _folder: Path, _sweep: str, run: str, *_: object) -> None:
        self.id = run
        self.problem = ""

    def finish(self, _: object, *, failed: bool) -> None:
        self.problem = "" if failed or self.id not in self.lost else "Connection lost"

    def log_step(self, _: object) -> None: ...


class Sweep:
    """A leader with a control plane and a trainer that fails in the runs it is told to."""

    def __init__(self, folder: Path, names: list[str], said: str, seed: int = 7) -> None:
        text = (
            f"version: 1\nname: s\nseed: {seed}\nworkload: {{trainer: {{command: x}}}}\n"
            f"sweep: {{parameters: {{{SPACE}}}, {said}}}\n"
        )
        self.names, self.events = names, list[tuple[str, dict[str, Any]]]()
        self.folder = folder
        folder.mkdir(exist_ok=True)
        plane = SimpleNamespace(
            sweep=lambda _: SimpleNamespace(exists=True),
            next_run=self._next_run,
            training_run=lambda *_: "id",
            epoch=lambda *_: "id",
            policy=lambda *_, **__: "id",
            episode=lambda *_: None,
        )
        self.leader = Leader(
            parse(text, Path("s.yaml")),
            sweep="s",
            overrides={},
            run_folder=folder,
            control_plane=cast("ControlPlane", plane),
            emitter=cast("Emitter", SimpleNamespace(tell=self._tell)),
        )
        self.leader.begin()

    def _next_run(self, _: str) -> str:
        self.names.append(f"s.r.{len(self.names) + 1}")
        return self.names[-1]

    def _tell(self, event: KnownEvent) -> None:
        self.events.append((event.name, vars(event)))

    def play(self, failing: tuple[int, ...] = (), stop_at: str = "") -> list[dict[str, Any]]:
        """Go through trials; returns the suggestions, one for each run."""
        made = []
        while (sent := self.leader.propose()).run:
            made.append(sent.overrides)
            if sent.run == stop_at:
                break
            score = float(cast("float", sent.overrides["lr"])) * float(
                cast("int", sent.overrides["n"])
            )
            self.leader.follow({"event": "train.step", "reward": score, "agent_steps": 10})
            reason = "it broke" if sent.trial in failing else ""
            self.leader.conclude([Outcome(0, {0: 0}, reason)])
        return made

    def of(self, name: str) -> list[dict[str, Any]]:
        return [fields for event, fields in self.events if event == name]


Begin = Callable[..., Sweep]


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
    monkeypatch.setattr(module, "TrackedRun", Tracked)
    return lambda said, folder="run", names=None, **more: Sweep(
        tmp_path / folder, [] if names is None else names, said, **more
    )


def test_a_failed_trial_is_tried_again_with_the_same_suggestion(begin: Begin) -> None:
    sweep = begin("trials: 2, retries: 2")
    made = sweep.play(failing=(1, 2))

    assert made[0] == made[1] == made[2] != made[3]
    assert len(made) == 4
    recorded = sweep.of("observation.recorded")
    assert [(one["attempt"], one["retried"], one["failed"]) for one in recorded] == [
        (1, True, True),
        (2, True, True),
        (3, False, False),
        (1, False, False),
    ]
    assert [one["trial"] for one in recorded] == [1, 2, 3, 4]
    assert [one["attempt"] for one in sweep.of("suggestion.made")] == [1, 2, 3, 1]
    told = json.loads((sweep.folder / "trials" / "s.r.2" / "trial.json").read_text())
    assert (told["attempt"], told["retried"], told["status"]) == (2, True, "failed")
    leader = sweep.leader
    assert (leader.completed, leader.failed, leader.retried, leader.gave_up) == (2, 2, 2, False)


def test_a_run_that_the_tracker_lost_is_a_failed_try(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tracked, "lost", {"s.r.1"})
    sweep = begin("trials: 1, retries: 1")
    sweep.play()

    lost, kept = sweep.of("observation.recorded")
    assert (lost["failed"], lost["score"], lost["retried"]) == (True, None, True)
    assert lost["reason"] == "wandb lost the run: Connection lost"
    assert (kept["failed"], kept["attempt"]) == (False, 2)
    told = json.loads((sweep.folder / "trials" / "s.r.1" / "trial.json").read_text())
    assert (told["status"], told["reason"]) == ("failed", lost["reason"])


def test_a_trial_has_failed_when_its_last_try_has(begin: Begin) -> None:
    sweep = begin("trials: 5, retries: 1, max_failures_in_a_row: 2")
    made = sweep.play(failing=(1, 2, 3, 4))

    assert len(made) == 4
    assert sweep.leader.gave_up
    # The strategy learnt of both failures: its second suggestion is another.
    assert made[0] == made[1] != made[2] == made[3]


def test_what_was_tried_again_costs(begin: Begin) -> None:
    sweep = begin("trials: 9, retries: 3, budget: 25")
    assert len(sweep.play(failing=(1, 2))) == 3


@pytest.mark.parametrize("strategy", ["protein", "random"])
@pytest.mark.parametrize("stop_at", ["s.r.2", "s.r.4", "s.r.5"])
def test_an_interrupted_sweep_goes_on_as_if_nothing_had_happened(
    begin: Begin, strategy: str, stop_at: str
) -> None:
    said = f"trials: 5, retries: 1, strategy: {strategy}"
    whole = begin(said, "whole").play(failing=(3,))
    assert len(whole) == 6

    names: list[str] = []
    first = begin(said, "part", names)
    before = first.play(failing=(3,), stop_at=stop_at)
    second = begin(said, "part", names)
    after = second.play(failing=(3,))

    # What was under way is tried anew, under the next name; nothing is skipped or given twice.
    assert before[:-1] + after == whole
    assert before[-1] == after[0]
    assert names == [f"s.r.{number}" for number in range(1, 8)]
    assert second.of("sweep.resumed")[0]["runs"] == len(before) - 1


def test_trials_and_budget_count_what_was_before(begin: Begin) -> None:
    names: list[str] = []
    assert len(begin("trials: 2", "part", names).play()) == 2
    assert begin("trials: 2", "part", names).play() == []
    assert len(begin("trials: 3", "part", names).play()) == 1
    assert begin("trials: 9, budget: 30", "part", names).play() == []


def test_observations_of_another_search_are_refused(begin: Begin, tmp_path: Path) -> None:
    begin("trials: 1", "part").play()
    path = tmp_path / "part" / "observations.jsonl"
    path.write_text(path.read_text().replace('"n":', '"other":'))
    with pytest.raises(InputError, match=r"sweep\.resume: s\.r\.1 is not of this search"):
        begin("trials: 2", "part")


def test_failures_that_are_apart_are_none_in_a_row(begin: Begin) -> None:
    sweep = begin("trials: 5, max_failures_in_a_row: 2")
    sweep.play(failing=(1, 3, 5))

    leader = sweep.leader
    assert (leader.completed, leader.failed, leader.gave_up) == (2, 3, False)


def test_a_strategy_that_breaks_in_a_trial_ends_it_first(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = begin("trials: 2")
    sweep.leader.propose()

    def broken(_step: int, _score: float) -> bool:
        raise KeyError("no such rung")

    monkeypatch.setattr(sweep.leader, "_strategy", SimpleNamespace(prunes=broken))
    assert sweep.leader.follow({"event": "train.step", "reward": 1.0, "rank": 0, "step": 1})
    assert not sweep.leader.follow({"event": "train.step", "reward": 1.0, "rank": 0, "step": 2})

    with pytest.raises(KeyError, match="no such rung"):
        sweep.leader.conclude([Outcome(0, {0: 0}, "")])
    assert sweep.of("observation.recorded") == sweep.of("trial.pruned") == []
