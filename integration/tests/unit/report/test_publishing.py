from __future__ import annotations

import io
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from metta_sandbox.report import page, publishing
from metta_sandbox.report.console import Reporter
from metta_sandbox.report.publishing import publish
from metta_sandbox.report.results import RunResult

FILES = {"report.html", "junit.xml", "summary.md"}


def published(run: RunResult, folder: Path, environ: Mapping[str, str]) -> str:
    file = io.StringIO()
    reporter = Reporter(console=Console(file=file, width=40))
    publish(run, folder, Path("artifacts/r"), environ, reporter)
    return file.getvalue()


def test_every_report_is_written_and_nothing_is_said(mixed: RunResult, tmp_path: Path) -> None:
    assert published(mixed, tmp_path, {}) == ""
    assert {file.name for file in tmp_path.iterdir()} == FILES


def test_a_run_that_could_not_start_is_reported(unplayed: RunResult, tmp_path: Path) -> None:
    assert published(unplayed, tmp_path, {}) == ""
    assert {file.name for file in tmp_path.iterdir()} == FILES


def test_github_gets_the_summary_behind_what_stands_there(mixed: RunResult, tmp_path: Path) -> None:
    job = tmp_path / "job.md"
    job.write_text("before\n")
    published(mixed, tmp_path, {"GITHUB_STEP_SUMMARY": str(job)})
    assert job.read_text() == "before\n" + (tmp_path / "summary.md").read_text()


def test_github_gets_annotations_one_to_a_line_however_narrow(
    mixed: RunResult, tmp_path: Path
) -> None:
    said = published(mixed, tmp_path, {"GITHUB_ACTIONS": "true"}).splitlines()
    assert len(said) == 3
    assert all(line.startswith("::error ") for line in said)


def test_what_cannot_be_written_is_told_and_the_rest_is_there(
    mixed: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError("no template")

    monkeypatch.setattr(page, "render", broken)
    said = published(mixed, tmp_path, {"GITHUB_STEP_SUMMARY": str(tmp_path / "no" / "such")})
    assert "report.html could not be written: RuntimeError: no template" in said
    assert "the job's summary could not be written: FileNotFoundError" in said
    assert {file.name for file in tmp_path.iterdir()} == FILES - {"report.html"}


def test_a_report_that_takes_for_ever_is_told_and_the_rest_is_there(
    mixed: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*_: object) -> str:
        while True:
            time.sleep(0.01)

    monkeypatch.setattr(page, "render", hang)
    monkeypatch.setattr(publishing, "_PATIENCE", 3.0)
    said = published(mixed, tmp_path, {})
    assert "report.html was not done when the 3 s for all of it were over" in said
    assert {file.name for file in tmp_path.iterdir()} == FILES - {"report.html"}
