"""A trial's W&B run, and what becomes of it once W&B's service has gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from metta_sandbox.node import tracking
from metta_sandbox.node.tracking import TrackedRun, TrackerError


class Service:
    """Stands in for W&B: notes what is asked of it, and refuses while it is down."""

    def __init__(self) -> None:
        self.down = False
        self.asked: list[str] = []
        self.summary: dict[str, Any] = {}

    def ask(self, what: str) -> None:
        self.asked.append(what)
        if self.down:
            raise ConnectionResetError("Connection lost")

    def begin(self, wanted: Mapping[str, Any]) -> SimpleNamespace:
        self.ask(f"begin {wanted['id']}")
        return SimpleNamespace(
            log=lambda _, step: self.ask(f"log {step}"),
            summary=self.summary,
            finish=lambda exit_code: self.ask(f"finish {exit_code}"),
        )

    def end(self) -> None:
        self.asked.append("end")


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()
    monkeypatch.setattr(tracking, "_begin", made.begin)
    monkeypatch.setattr(tracking, "_end_service", made.end)
    return made


def begin(folder: Path, begun: Callable[[], None] = lambda: None) -> TrackedRun:
    return TrackedRun(folder, "s", "s.r.1", {"lr": 0.1}, "p", begun)


def test_steps_and_the_observation_are_kept(service: Service, tmp_path: Path) -> None:
    run = begin(tmp_path)
    run.log_step({"event": "train.step", "step": 3, "loss": 0.5})
    run.finish({"score": 1.5}, failed=False)

    assert service.asked == ["begin s.r.1", "log 3", "finish 0"]
    assert service.summary == {"score": 1.5}
    assert run.problem == ""


def test_nobody_waits_for_the_run_to_begin(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_begin, order = Event(), []

    def slow(wanted: Mapping[str, Any]) -> SimpleNamespace:
        may_begin.wait()
        return service.begin(wanted)

    monkeypatch.setattr(tracking, "_begin", slow)
    run = begin(tmp_path, lambda: order.append("begun"))
    run.log_step({"step": 1})
    order.append("logged")
    may_begin.set()
    run.finish({}, failed=False)

    assert order == ["logged", "begun"]
    assert service.asked == ["begin s.r.1", "log 1", "finish 0"]


def test_the_first_thing_that_goes_wrong_is_kept_and_nothing_is_asked_any_more(
    service: Service, tmp_path: Path
) -> None:
    begun = Event()
    run = begin(tmp_path, begun.set)
    begun.wait()
    service.down = True
    run.log_step({"step": 1})
    run.log_step({"step": 2})
    run.finish({"score": 1.5}, failed=True)

    assert run.problem == "ConnectionResetError: Connection lost"
    assert service.asked == ["begin s.r.1", "log 1", "end"]


def test_a_run_begins_with_another_service_when_there_is_none_any_more(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.down = True
    monkeypatch.setattr(tracking, "_end_service", lambda: setattr(service, "down", False))
    run = begin(tmp_path)
    run.finish({}, failed=False)

    assert service.asked == ["begin s.r.1", "begin s.r.1", "finish 0"]
    assert run.problem == ""


def test_one_that_can_not_begin_is_told_with_its_folder(service: Service, tmp_path: Path) -> None:
    service.down = True
    run = begin(tmp_path, lambda: pytest.fail("it has not begun"))
    run.log_step({"step": 1})
    with pytest.raises(TrackerError, match=r"wandb can't begin the run s\.r\.1: .*lost") as caught:
        run.finish({}, failed=False)
    assert str(tmp_path / "wandb") in caught.value.hint
