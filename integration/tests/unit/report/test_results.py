from __future__ import annotations

import json
import math
from pathlib import Path

import jsonschema
import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.report import results
from metta_sandbox.report.results import (
    CheckResult,
    FaultResult,
    RunResult,
    ScenarioResult,
    Timings,
    TrialResult,
)
from metta_sandbox.verdict import Verdict

FULL = RunResult(
    run="20261122T183512-ab12",
    verdict=Verdict.FAILED,
    engine="process",
    seconds=12.5,
    scenarios=(
        ScenarioResult(
            name="basic",
            file="scenarios/basic.yaml",
            verdict=Verdict.FAILED,
            reason="log lacks error: found",
            engine="process",
            nodes=2,
            seconds=12.25,
            trials=(
                TrialResult(
                    run="basic.r.1",
                    status="completed",
                    score=1.5,
                    cost=512,
                    seconds=3.5,
                    overrides={"trainer.optimizer.learning_rate": 0.001, "trainer.curriculum": "a"},
                ),
                TrialResult(run="", status="failed"),
            ),
            faults=(FaultResult(name="kill", fired=True, proof="exit 137"),),
            checks=(CheckResult(name="log", verdict=Verdict.FAILED, detail="a\nb"),),
            timings=Timings(up=1.5, first_trial=2.0),
        ),
    ),
)
NEVER_STARTED = RunResult(run="r", verdict=Verdict.ERROR, engine="", seconds=0.1)


@pytest.mark.parametrize("result", [FULL, NEVER_STARTED])
def test_what_is_written_reads_back_and_fits_the_schema(tmp_path: Path, result: RunResult) -> None:
    path = results.write(result, tmp_path)

    assert results.read(tmp_path) == results.read(path) == result
    jsonschema.validate(json.loads(path.read_text()), json.loads(results.SCHEMA_FILE.read_text()))
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_the_keys_are_those_of_the_contract(tmp_path: Path) -> None:
    run = json.loads(results.write(FULL, tmp_path).read_text())

    assert list(run) == ["version", "run", "verdict", "reason", "engine", "seconds", "scenarios"]
    (scenario,) = run["scenarios"]
    assert set(scenario) == {
        "name", "file", "verdict", "reason", "engine", "nodes", "seconds", "trials", "faults",
        "checks", "causes", "left_out", "timings",
    }  # fmt: skip
    assert set(scenario["trials"][0]) == {
        "run", "status", "score", "cost", "overrides", "seconds", "pruned",
    }  # fmt: skip
    assert set(scenario["faults"][0]) == {"name", "kind", "fired", "proven", "proof", "late"}
    assert set(scenario["checks"][0]) == {
        "name", "verdict", "detail", "expected", "seen", "where", "asked_by", "warning",
        "seconds",
    }  # fmt: skip
    assert scenario["timings"] == {"up": 1.5, "first_trial": 2.0, "down": None}
    assert (run["version"], run["verdict"]) == (1, "failed")


def test_the_published_schema_is_current_and_sound() -> None:
    text = results.SCHEMA_FILE.read_text()

    assert text == results.schema()
    jsonschema.Draft202012Validator.check_schema(json.loads(text))


@pytest.mark.parametrize(
    "change", [{"verdict": "fine"}, {"seconds": -1}, {"extra": 1}, {"version": 2}]
)
def test_the_schema_refuses_what_is_no_result(tmp_path: Path, change: dict[str, object]) -> None:
    document = json.loads(results.write(FULL, tmp_path).read_text()) | change

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, json.loads(results.schema()))


def test_numbers_that_json_cannot_write_are_null(tmp_path: Path) -> None:
    trial = TrialResult(run="r", status="failed", score=math.nan, overrides={"a": math.inf})
    scenario = FULL.scenarios[0].model_copy(update={"trials": (trial,)})
    text = results.write(FULL.model_copy(update={"scenarios": (scenario,)}), tmp_path).read_text()

    def refuse(word: str) -> None:
        pytest.fail(f"{word} is not JSON")

    (written,) = json.loads(text, parse_constant=refuse)["scenarios"][0]["trials"]
    assert (written["score"], written["overrides"]) == (None, {"a": None})


def test_a_failed_write_leaves_the_old_file_and_no_scraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results.write(FULL, tmp_path)

    def full(self: Path, *_: object, **__: object) -> None:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        results.write(NEVER_STARTED, tmp_path)

    assert results.read(tmp_path) == FULL
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("text", ["{}", "[", '{"version": 1, "run": 3}'])
def test_a_file_that_is_no_result_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)

    with pytest.raises(InputError, match=r"results\.json is not a run's results"):
        results.read(tmp_path)


def test_no_file_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        results.read(tmp_path / "gone.json")
