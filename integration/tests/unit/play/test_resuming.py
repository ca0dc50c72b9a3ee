"""What a run takes over from the sweep it resumes."""

from __future__ import annotations

from pathlib import Path

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.play.resume import resume
from metta_sandbox.scenario.loading import Loaded, parse
from metta_sandbox.stack.engines.base import StackPlan

LINE = '{"run": "x.r.1", "observation": {"overrides": {}, "score": 1, "cost": 1}}\n'


def earlier(root: Path, run: str, lines: str = LINE, scenario: str = "x") -> Path:
    folder = root / "artifacts" / run / scenario
    (folder / "shared").mkdir(parents=True)
    (folder / "api").mkdir()
    (folder / "scenario.yaml").write_text("")
    (folder / "shared" / "observations.jsonl").write_text(lines)
    (folder / "api" / "state.sqlite3").write_text(run)
    (folder / "api" / "state.sqlite3-wal").write_text("")
    (folder / "api" / "requests.jsonl").write_text("another run's")
    return folder


def resumed(root: Path, said: str, limits: str = "trials: 4") -> tuple[list[str], Path]:
    """Resume in a new run; returns what is told, and the new scenario's folder."""
    folder = root / "artifacts" / "9" / "x"
    plan = StackPlan("9", "x", ("sweep-master",), folder)
    plan.run_folder.mkdir(parents=True)
    told: list[str] = []
    file = root / "here" / "x.yaml"
    file.parent.mkdir()
    scenario = parse(f"version: 1\nname: x\nsweep: {{resume: {said}, {limits}}}", file)
    resume(Loaded(scenario, file), plan, told.append)
    return told, folder


@pytest.mark.parametrize("said", ["../artifacts/1/x", "../artifacts/1", "latest"])
def test_observations_and_the_control_planes_state_are_taken_over(
    tmp_path: Path, said: str
) -> None:
    source = earlier(tmp_path, "1")
    earlier(tmp_path, "2", scenario="another")
    (tmp_path / "artifacts" / "latest").symlink_to("2")

    told, folder = resumed(tmp_path, said)

    assert told == [f"resuming after 1 trial: {source}"]
    assert (folder / "shared" / "observations.jsonl").read_text() == LINE
    assert (folder / "api" / "state.sqlite3").read_text() == "1"
    assert sorted(path.name for path in (folder / "api").iterdir()) == [
        *("state.sqlite3", "state.sqlite3-wal")
    ]


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    earlier(tmp_path, "1", LINE + LINE[:20])
    _, folder = resumed(tmp_path, "latest")
    assert (folder / "shared" / "observations.jsonl").read_text() == LINE


def test_a_sweep_that_is_over_is_not_resumed(tmp_path: Path) -> None:
    source = earlier(
        tmp_path / "a", "1", 2 * LINE + LINE.replace('"run"', '"retried": true, "run"')
    )
    with pytest.raises(InputError, match=f"{source} has had 2 trials already, .* is 2"):
        resumed(tmp_path / "a", "latest", "trials: 2")
    earlier(tmp_path / "b", "1", 3 * LINE)
    with pytest.raises(InputError, match=r"has cost 3 already, and sweep\.budget is 3"):
        resumed(tmp_path / "b", "latest", "trials: 4, budget: 3")


def test_the_first_of_all_runs_has_nothing_to_resume(tmp_path: Path) -> None:
    told, folder = resumed(tmp_path, "latest")
    assert told == ["no earlier run has trials of x: the sweep begins anew"]
    assert not (folder / "api").exists()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sweep\.resume: \.\./gone is no longer there"):
        resumed(tmp_path / "a", "../gone")
    source = earlier(tmp_path / "b", "1")
    for path in (source / "api").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="run names would begin anew"):
        resumed(tmp_path / "b", "latest")
    earlier(tmp_path / "c", "1", "nonsense\n")
    with pytest.raises(InputError, match=r"observations\.jsonl:1: no observation"):
        resumed(tmp_path / "c", "latest")


def test_what_a_link_leads_to_is_neither_copied_nor_quoted(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text('{"observation": {"cost": "hunter2-hunter2"}}\n')
    state = earlier(tmp_path, "1") / "api" / "state.sqlite3"
    state.unlink()
    state.symlink_to(secret)
    with pytest.raises(InputError, match=r"state\.sqlite3 is a link to elsewhere"):
        resumed(tmp_path, "latest")
    earlier(tmp_path / "other", "1", secret.read_text())
    with pytest.raises(InputError, match=r"observations\.jsonl:1: no observation") as caught:
        resumed(tmp_path / "other", "latest")
    assert "hunter2" not in str(caught.value)
