from __future__ import annotations

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

from metta_sandbox.report.page import render
from metta_sandbox.report.results import RunResult
from metta_sandbox.report.story import PageLimits

VENDOR = Path(__file__).parents[3] / "metta_sandbox" / "report" / "vendor"


class Outline(HTMLParser):
    """The page's tags, and what stands in its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = "" if tag == "script" else self.inside

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts.append(data)


def test_nothing_that_anybody_says_becomes_markup(mixed: RunResult, tmp_path: Path) -> None:
    hostile = "</script><script>document.title='taken'</script><img src=x>\u2028<!--"
    folder = tmp_path / "bad"
    folder.mkdir()
    entry = {"line": hostile, "node": hostile, "source": "sweep", "received": 1}
    (folder / "timeline.jsonl").write_text(json.dumps(entry))
    outline = Outline(render(mixed, tmp_path))
    tags = [tag for tag, _ in outline.tags]
    assert "img" not in tags
    assert tags.count("script") == len(mixed.scenarios) + 2
    shown = hostile.replace("\u2028", r"\u2028")
    data = [json.loads(script) for script in outline.scripts[: len(mixed.scenarios)]]
    assert data[1]["logs"]["lines"] == [[1, shown, "sweep", shown]]


def test_the_page_needs_nothing_from_outside(mixed: RunResult, tmp_path: Path) -> None:
    outline = Outline(render(mixed, tmp_path))
    references = [
        value
        for _, attributes in outline.tags
        for name, value in attributes.items()
        if name in {"src", "href", "action", "data", "poster", "srcset"} and value
    ]
    assert all(value.startswith(("#", "data:")) for value in references)
    (policy,) = (
        str(attributes["content"])
        for tag, attributes in outline.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.partition("style-src")[0]


def test_what_a_run_came_to_stands_first_with_its_reason(
    mixed: RunResult, unplayed: RunResult, tmp_path: Path
) -> None:
    text = re.sub(r"<[^>]+>", "\n", render(mixed, tmp_path).partition("<body>")[2])
    said = [line for line in map(str.strip, text.splitlines()) if line]
    assert said[:2] == ["failed", "3 of 5 scenarios did not pass: bad, unsure, lost."]
    assert "No Docker engine answers." in render(unplayed, tmp_path)


def test_scenarios_that_did_not_pass_are_open(mixed: RunResult, tmp_path: Path) -> None:
    outline = Outline(render(mixed, tmp_path))
    opened = [
        "open" in attributes
        for tag, attributes in outline.tags
        if tag == "details" and attributes.get("class") == "scenario"
    ]
    assert opened == [False, True, True, True, False]


def test_a_warning_of_a_check_stands_above_the_checks(mixed: RunResult, tmp_path: Path) -> None:
    one = mixed.scenarios[0]
    check = one.checks[0].model_copy(update={"warning": "ranks never met <here>"})
    warned = one.model_copy(update={"checks": (check,)})
    text = render(mixed.model_copy(update={"scenarios": (warned,)}), tmp_path)
    assert "Warning:</strong> ranks never met &lt;here&gt;" in text.partition("<h3>Checks")[0]


def test_a_score_that_is_no_number_leaves_the_page_readable(
    mixed: RunResult, tmp_path: Path
) -> None:
    trial = mixed.scenarios[0].trials[0].model_copy(update={"score": float("nan")})
    one = mixed.scenarios[0].model_copy(update={"trials": (trial,)})
    outline = Outline(render(mixed.model_copy(update={"scenarios": (one,)}), tmp_path))
    assert json.loads(outline.scripts[0])["trials"][0]["score"] is None


def test_scenarios_of_one_name_show_each_their_own_folder(mixed: RunResult, tmp_path: Path) -> None:
    for name in ("good", "good-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "timeline.jsonl").write_text(json.dumps({"step": name, "received": 1}))
    twice = mixed.model_copy(update={"scenarios": mixed.scenarios[:1] * 2})
    outline = Outline(render(twice, tmp_path))
    steps = [json.loads(script)["logs"]["lines"][0][3] for script in outline.scripts[:2]]
    assert steps == ["good", "good-2"]


def test_the_environment_is_shown_and_may_be_missing(mixed: RunResult, tmp_path: Path) -> None:
    assert "Environment" not in render(mixed, tmp_path)
    told = {"command": ["metta-sandbox", "run", "a b"], "memory_bytes": 2**34, "dirty": True}
    (tmp_path / "environment.json").write_text(json.dumps(told))
    text = render(mixed, tmp_path)
    assert "<dd>metta-sandbox run &#39;a b&#39;</dd>" in text
    assert "<dd>16.0 GiB</dd>" in text


def test_logs_of_many_scenarios_share_the_pages_room(mixed: RunResult, tmp_path: Path) -> None:
    for scenario in mixed.scenarios:
        folder = tmp_path / scenario.name
        folder.mkdir()
        line = json.dumps({"line": "x" * 100, "node": "n", "source": "sweep", "received": 1})
        (folder / "timeline.jsonl").write_text(f"{line}\n" * 5_000)
    empty = len(render(mixed, tmp_path / "nothing"))
    assert len(render(mixed, tmp_path, PageLimits(characters=200_000))) - empty < 400_000


def test_the_chart_library_is_the_one_its_makers_released() -> None:
    digest = hashlib.sha256((VENDOR / "echarts.min.js").read_bytes()).hexdigest()
    # npm's echarts 6.1.0, dist/echarts.min.js
    assert digest == "b66b25aeb4df84e33199dc21694014d336d222cbd9deb0e5a7c14bd6aa0d0fd0"
    assert "Apache License" in (VENDOR / "echarts.LICENSE.txt").read_text()
