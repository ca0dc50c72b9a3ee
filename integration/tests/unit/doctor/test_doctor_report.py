from __future__ import annotations

import io
import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from metta_sandbox import cli, doctor
from metta_sandbox.doctor.item import NEEDS_AN_ENGINE, DoctorItem, DoctorReport, Status

FINE = DoctorItem("engine", Status.OK, "27.3", "20.10")
POOR = DoctorItem("netem", Status.WARNING, "not there", "sch_netem", "apt-get install it")
BAD = DoctorItem("compose", Status.MISSING, "none", "2", "install [red]it[/red]")
WAITING = DoctorItem("disk", Status.UNKNOWN, NEEDS_AN_ENGINE, "4 GB")


def shown(*items: DoctorItem, process: bool = True, terminal: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=80, highlight=False)
    if terminal:
        console = Console(file=out, force_terminal=True, color_system="standard", highlight=False)
    doctor.show(DoctorReport(items, process), console)
    return out.getvalue()


def test_each_line_says_what_was_found_what_is_needed_and_what_mends_it() -> None:
    lines = shown(FINE, POOR).splitlines()
    assert lines[0] == "ok       engine  27.3   (needed: 20.10)"
    assert lines[1] == "warning  netem   not there   (needed: sch_netem)"
    assert lines[2].strip() == "-> apt-get install it"
    assert lines[3].startswith("Scenarios can be played on Docker here; what a warning names")


def test_plain_where_there_is_no_terminal_and_coloured_on_one() -> None:
    assert "\x1b" not in shown(POOR)
    assert "\x1b[1;33mwarning" in shown(POOR, terminal=True)


def test_a_mend_is_printed_as_it_has_to_be_typed() -> None:
    long = DoctorItem("x", Status.MISSING, "none", "some", "curl " + "a" * 200)
    assert "install [red]it[/red]" in shown(BAD)
    assert "curl " + "a" * 200 in shown(long)


def test_what_waits_for_an_engine_is_one_line() -> None:
    text = shown(BAD, WAITING, DoctorItem("clock", Status.UNKNOWN, NEEDS_AN_ENGINE, "1 s"))
    assert f"{NEEDS_AN_ENGINE}: disk, clock\n" in text
    assert text.count(NEEDS_AN_ENGINE) == 1


@pytest.mark.parametrize("process", [True, False])
def test_local_processes_are_offered_where_they_work(process: bool) -> None:
    assert ("--engine process" in shown(BAD, process=process)) is process


@pytest.mark.parametrize(("items", "status"), [((FINE, POOR, WAITING), 0), ((FINE, BAD), 3)])
def test_the_command_s_exit_status_and_json(
    items: tuple[DoctorItem, ...], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: DoctorReport(items, process=True))
    plain = CliRunner().invoke(cli.app, ["doctor"])
    assert plain.exit_code == status
    assert "27.3" in plain.output
    told = CliRunner().invoke(cli.app, ["doctor", "--json"])
    assert told.exit_code == status
    report = json.loads(told.output)
    assert (report["version"], report["ok"]) == (1, status == 0)
    assert list(report) == ["version", "ok", "items"]
    assert [list(item) for item in report["items"]] == [
        ["name", "status", "found", "needed", "mend"]
    ] * len(items)
    assert report["items"][0]["status"] == "ok"
