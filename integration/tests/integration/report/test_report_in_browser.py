"""The page as a browser shows it: of real runs, of a hostile one and of a very long one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from metta_sandbox.report import results
from metta_sandbox.report.page import render
from metta_sandbox.report.results import CheckResult, RunResult, ScenarioResult, TrialResult
from metta_sandbox.verdict import Verdict

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.integration.report.conftest import Open, Opened

HOSTILE = "</script><script>document.title='taken'</script><img src=http://example.com/x>"
#: What the page's charts hold, asked of the library that draws them.
CHART = "(name) => echarts.getInstanceByDom(document.querySelector(name)).getOption()"
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Play two scenarios, one of which expects what can't be; give the run's folder."""
    folder = tmp_path_factory.mktemp("played")
    small = {
        "total_timesteps": 256,
        "batch_size": 64,
        "minibatch_size": 32,
        "bptt_horizon": 4,
        "update_epochs": 1,
    }
    rate = {"distribution": "log_normal", "min": 1e-4, "max": 1e-2, "mean": 3e-3}
    for name, trials, expect in (("fine", 2, []), ("vain", 1, [{"log": {"contains": HOSTILE}}])):
        scenario: dict[str, Any] = {
            "version": 1,
            "name": name,
            "sweep": {
                "trials": trials,
                "parameters": {"trainer.optimizer.learning_rate": rate},
            },
            "workload": {"trainer": {"overrides": {"trainer": small}}},
            "expect": expect,
        }
        YAML(typ="safe", pure=True).dump(scenario, folder / f"{name}.yaml")
    command = [sys.executable, "-m", "metta_sandbox", "run", str(folder), "--engine", "process"]
    env = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        [*command, "--artifacts", str(folder / "artifacts")],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return (folder / "artifacts" / "latest").resolve()


def silent(opened: Opened) -> None:
    assert opened.complaints == []
    assert opened.requests == []


def unfold(page: Page) -> None:
    """Open the first scenario, and wait until its charts are drawn."""
    page.locator("#scenario-0 > summary").click()
    page.wait_for_selector("#scenario-0[data-drawn]")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_it_renders_without_a_complaint_and_without_leaving_the_page(
    played: Path, open_page: Open, scheme: str, size: dict[str, int]
) -> None:
    opened = open_page(played / "report.html", viewport=size, color_scheme=scheme)
    page = opened.page
    assert page.locator("h1").inner_text().startswith("vain: did not hold:")
    assert page.locator(".scenario[open]").count() == 1
    unfold(page)
    assert page.locator("canvas").count() == 10
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, ground.removeprefix("rgb(").removesuffix(")").split(",")))
    assert (brightness < 200) == (scheme == "dark")
    silent(opened)


def test_its_lanes_are_the_timelines_nodes_ranks_and_trials(played: Path, open_page: Open) -> None:
    lines = (played / "fine" / "timeline.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    nodes = {entry["node"] for entry in entries if "event" in entry}
    runs = {entry["run"] for entry in entries if entry.get("event") == "run.named"}
    page = open_page(played / "report.html").page
    unfold(page)
    option = page.evaluate(CHART, "#scenario-0 .timeline")
    ranks = {"sweep-master#0", "sweep-worker#1"}
    assert set(option["yAxis"][0]["data"]) == nodes | ranks | {"trials", "harness"}
    data = json.loads(page.locator("#data-0").text_content() or "")
    assert {band["label"] for band in data["bands"] if band["kind"] == "trial"} == runs
    drawn = sum(len(series["data"]) for series in option["series"][1:])
    marked = sum(len(marks["points"]) for marks in data["marks"])
    assert drawn == marked > len(nodes)
    curves = page.evaluate(CHART, "#scenario-0 .curve")["series"]
    assert {one["id"] for one in curves} == {
        f"{run}|rank {rank}" for run in runs for rank in (0, 1)
    }
    assert all(len(one["data"]) == 4 for one in curves)


def test_a_failed_check_is_open_with_its_evidence_and_the_others_are_not(
    played: Path, open_page: Open
) -> None:
    page = open_page(played / "report.html").page
    check = page.locator("#scenario-1 .checks > .check")
    assert check.count() == 1
    assert HOSTILE in check.locator("pre").inner_text()
    assert not page.locator("#scenario-1 .more .check").first.is_visible()
    assert page.title() != "taken"


def test_logs_are_filtered_by_node_source_and_text(played: Path, open_page: Open) -> None:
    opened = open_page(played / "report.html")
    page = opened.page
    logs = page.locator("#scenario-1 .logs")
    logs.locator(".node").select_option("sweep-worker")
    logs.locator(".source").select_option("event")
    shown = logs.locator(".line").all_inner_texts()
    assert shown
    assert all("sweep-worker" in line for line in shown)
    logs.locator(".text").fill("HANDOFF.received")
    (line,) = logs.locator(".line").all_inner_texts()
    assert "handoff.received" in line
    assert logs.locator(".count").inner_text().startswith("1 of ")
    silent(opened)


def test_the_timeline_zooms_and_tells_details(played: Path, open_page: Open) -> None:
    page = open_page(played / "report.html", viewport=DESK).page
    chart = page.locator("#scenario-1 .timeline")
    chart.scroll_into_view_if_needed()
    page.wait_for_selector("#scenario-1[data-drawn]")
    # Marks lie where things happened, so some cover others: the one that is farthest from all.
    x, y, said = page.evaluate(
        """() => {
          const chart = echarts.getInstanceByDom(document.querySelector("#scenario-1 .timeline"));
          const place = (mark) => chart.convertToPixel({ xAxisIndex: 0, yAxisIndex: 0 }, mark);
          const marks = chart.getOption().series.slice(1).flatMap((series) =>
            series.data.map((mark) => ({
              at: place(mark.slice(0, 2)), said: mark[4], pinned: series.symbol === "pin",
            })));
          const apart = ({ at: one }, { at: other }) =>
            Math.hypot(one[0] - other[0], one[1] - other[1]);
          const room = (mark) =>
            Math.min(...marks.filter((other) => other !== mark).map((other) => apart(mark, other)));
          const [alone] = marks.filter((mark) => !mark.pinned)
            .sort((one, other) => room(other) - room(one));
          return [...alone.at, alone.said];
        }"""
    )
    box = chart.bounding_box()
    assert box
    page.mouse.move(box["x"] + x, box["y"] + y)
    page.wait_for_selector(".tip >> visible=true")
    assert said in page.locator(".tip").first.inner_text()
    page.keyboard.down("Control")
    page.mouse.wheel(0, -400)
    page.wait_for_function(
        """() => {
          const chart = echarts.getInstanceByDom(document.querySelector("#scenario-1 .timeline"));
          const { start, end } = chart.getOption().dataZoom[0];
          return end - start < 99;
        }"""
    )


def test_a_run_that_could_not_start_has_a_page(tmp_path: Path, open_page: Open) -> None:
    run = RunResult(
        run="r", verdict=Verdict.ERROR, reason=f"no engine {HOSTILE}", engine="", seconds=0.1
    )
    (tmp_path / "report.html").write_text(render(run, tmp_path))
    opened = open_page(tmp_path / "report.html")
    assert HOSTILE in opened.page.locator("h1").inner_text()
    assert opened.page.title() == "error · r"
    silent(opened)


@pytest.mark.slow
def test_a_million_events_open_within_seconds(tmp_path: Path, open_page: Open) -> None:
    folder = tmp_path / "long"
    folder.mkdir()
    steps, ranks, trials = 5_000, 4, 50
    with (folder / "timeline.jsonl").open("w") as file:
        for trial in range(1, trials + 1):
            for step in range(steps):
                at = (trial - 1) * steps / 100 + step / 100
                for rank in range(ranks):
                    entry = {"event": "train.step", "node": f"sweep-worker-{rank}", "rank": rank}
                    where = {"node_rank": rank, "trial": trial, "run": f"long.r.{trial}"}
                    file.write(
                        json.dumps(
                            {**entry, **where, "step": step, "loss": 1 / (step + 1), "received": at}
                        )
                    )
                    file.write("\n")
    scenario = ScenarioResult(
        name="long",
        file="long.yaml",
        verdict=Verdict.PASSED,
        engine="compose",
        nodes=ranks,
        seconds=2_500,
        trials=tuple(
            TrialResult(run=f"long.r.{trial}", status="completed", score=trial)
            for trial in range(1, trials + 1)
        ),
        checks=(CheckResult(name="digests", verdict=Verdict.PASSED),),
    )
    run = RunResult(
        run="r", verdict=Verdict.PASSED, engine="compose", seconds=2_500, scenarios=(scenario,)
    )
    results.write(run, tmp_path)
    page = tmp_path / "report.html"
    page.write_text(render(run, tmp_path))
    assert page.stat().st_size < 6_000_000
    began = time.perf_counter()
    opened = open_page(page)
    assert time.perf_counter() - began < 20
    silent(opened)
