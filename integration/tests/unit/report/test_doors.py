"""Everything that others say, sent out through every door: none of it acts there."""

from __future__ import annotations

import ast
import io
import json
import re
import signal
import sys
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import pytest
import typer
from markdown_it import MarkdownIt
from rich.console import Console

from metta_sandbox import cli, doctor
from metta_sandbox.autopsy.cause import Cause, WaitFor
from metta_sandbox.doctor.item import DoctorItem, DoctorReport, Status
from metta_sandbox.errors import InputError, Problem, StackError
from metta_sandbox.pytest_plugin.items import ScenarioItem, _not_passed
from metta_sandbox.pytest_plugin.playing import _Notes
from metta_sandbox.report import junit, page, summary
from metta_sandbox.report.console import Reporter
from metta_sandbox.report.live import LiveReporter
from metta_sandbox.report.results import (
    CheckResult,
    FaultResult,
    RunResult,
    ScenarioResult,
    TrialResult,
)
from metta_sandbox.report.scene import Scene
from metta_sandbox.report.status import LogPrinter, show_status, status_json
from metta_sandbox.report.workflow_commands import annotate
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.stack.engines.view import StackLogLine, StackMember
from metta_sandbox.stack.status import StackStatus
from metta_sandbox.timeline.recording import Event, Timeline
from metta_sandbox.verdict import Verdict

PACKAGE = Path(cli.__file__).parents[1]
#: Stands behind each text: what comes out must still tell it.
MARK = "M4RK"
_CONTROLS = [*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0)]
_TURNING = [0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_UNSEEN = [0xAD, 0x200B, 0x2028, 0x2029, 0x2060, 0xFEFF, 0xFFF9, 0xFFFF, 0xD800, 0xE0041]
_COMMANDS = (
    "error",
    "error file=a,line=1",
    "warning",
    "notice",
    "debug",
    "group",
    "endgroup",
    "add-mask",
    "add-matcher",
    "stop-commands",
    "set-output name=a",
    "set-env name=PATH",
    "save-state name=a",
    "add-path",
    "echo",
)
PAYLOADS = [
    *(f"a{chr(code)}b {MARK}" for code in (*_CONTROLS, *_TURNING, *_UNSEEN)),
    *(f"::{command}::{MARK}" for command in _COMMANDS),
    *(f"##[{command}]{MARK}" for command in _COMMANDS),
    *(
        f"{before}::error::{MARK}"
        for before in (*"\n\u00a0\u3000-", "x\n \t", "x\r", "x\r\n", "x\n\u200d", "\x1b[1m")
    ),
    f":\u200d:error::{MARK}",
    f"x #\ufe0f#[add-mask]{MARK}",
    f"##vso[task.setvariable variable=a]{MARK}",
    f"##teamcity[testFailed name='{MARK}']",
    f"\x1b]0;title\x07{MARK}",
    f"\x1b]8;;http://tracker\x1b\\click\x1b]8;;\x1b\\{MARK}",
    f"\x1b]52;c;cm0gLXJm\x07{MARK}",
    f"\x1bP+q544e\x1b\\{MARK}",
    f"\x1b[2J\x1b[H{MARK}",
    f"fine\x08\x08\x08\x08{MARK}",
    f"failed\r\x1b[KPASSED {MARK}",
    f"\nPASSED  1 passed in 0.1 s {MARK}",
    f"section_start:0:x\r\x1b[0K{MARK}",
    f"![x](http://tracker/{MARK})",
    f"[click](javascript:alert(1)) {MARK}",
    f"<img src=http://tracker onerror=alert(1)>{MARK}",
    f"</script><script>alert(1)</script>{MARK}",
    f"</pre></details><h1>{MARK}",
    f"]]><!-- {MARK} -->",
    f"&lt;b&gt; &#0; {MARK}",
    f"{{{{ 7 * 7 }}}} {{% raw %}} {MARK}",
    f"` `` ``` ```` ~~~ {MARK}",
    f"```\n# {MARK}\n```",
    f"| a | b |\n| - | - |\n| {MARK} |",
    f"- [x] {MARK}\n1. b\n> c\n---\n===",
    f"@octocat @org/team a@b.c {MARK}",
    f"#1 owner/repo#2 GH-3 {MARK}",
    f"https://tracker/{MARK} www.tracker.org <http://tracker>",
    f":rocket: :white_check_mark: {MARK}",
    f"$x$ $$y$$ *a* _b_ ~~c~~ {MARK}",
    f"[^1] [a]: http://tracker {MARK}",
    f"[red]x[/red] [link=http://tracker]y[/link] {MARK}",
    f"\\x1b \\ {MARK}",
]

_ACTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9\uffff\ud800-\udfff\U000e0041]"
)
#: What .NET passes over when it compares strings.
_PASSED_OVER = re.compile("[\u200c\u200d\ufe0f]")


def require_words_alone(text: str, commands: str = "") -> None:
    """Make sure that neither a terminal nor a runner finds anything to do in a text."""
    found = _ACTIVE.search(text)
    assert found is None, f"{found} in {text!r}"
    for line in text.split("\n"):
        bare = _PASSED_OVER.sub("", line).strip()
        if commands and bare.startswith(commands):
            continue  # one of ours, of which a runner reads no further one
        assert not re.match(r'[^\w"]*::', bare), line
        assert not re.search(r"##\w*\[", bare), line


def result_of(text: str) -> RunResult:
    """Give a run in which everything that can be is said by others."""
    text = text.encode("utf-8", "replace").decode()  # results hold no halves of letters
    check = CheckResult(
        name=text,
        verdict=Verdict.FAILED,
        detail=text,
        expected=text,
        seen=text,
        where=(text,),
        warning=text,
    )
    cause = Cause(
        kind="deadlock",
        sentence=text,
        rank=1,
        call=text,
        evidence=(text,),
        waits=(WaitFor(rank=0, awaited=1, call=text, evidence=text),),
    )
    scenario = ScenarioResult(
        name=text,
        file=text.replace("\0", "0"),
        verdict=Verdict.FAILED,
        reason=text,
        engine="process",
        nodes=2,
        seconds=1,
        trials=(TrialResult(run=text, status=text, score=1.0, overrides={text: text}),),
        faults=(FaultResult(name=text, kind=text, fired=True, proof=text),),
        checks=(check, check.model_copy(update={"verdict": Verdict.PASSED})),
        causes=(cause,),
    )
    whole = {"run": "20261122T183512-ab12", "verdict": Verdict.FAILED, "engine": "process"}
    return RunResult.model_validate({**whole, "seconds": 1, "scenarios": (scenario, scenario)})


def event_of(text: str) -> Event:
    fields = {"node": "sweep-master", "rank": 0, "trial": 1, "run": text, "score": text, text: text}
    return Event(1.0, {"event": "observation.recorded", "what": text, **fields})


def on_console(tell: Callable[[Console], object]) -> str:
    out = io.StringIO()
    tell(Console(file=out, width=2_000, highlight=False))
    return out.getvalue()


def reported(text: str) -> str:
    def tell(console: Console) -> None:
        reporter, run = Reporter(verbose=True, console=console), result_of(text)
        reporter.step(text, of=text)
        reporter.warn(text)
        reporter.event(event_of(text))
        for scenario in run.scenarios:
            reporter.scenario(scenario)
        reporter.finish(run, Path(text))

    return on_console(tell)


def live(text: str) -> str:
    scene = Scene(Scenario.model_validate({"version": 1, "name": "basic"}), 1, 1)
    for record in (
        event_of(text).fields,
        {"event": text, "node": "sweep-master", "trial": text},
        {"event": "train.step", "node": "sweep-worker", "trial": 2, "run": text, "step": text},
        {"event": "api.request", "node": "dummy-api", "method": text, "path": text, "status": text},
    ):
        scene.take(Event(1.0, record))
    return on_console(lambda console: console.print(scene.render()))


def logged(text: str) -> str:
    line = StackLogLine("sweep-master", text)
    return on_console(lambda console: LogPrinter(("sweep-master",), console).show(line))


def status_of(text: str) -> StackStatus:
    part = StackMember(text, "sweep-master", 0, text, text, text, (text,), text, 1.0)
    return StackStatus("compose", (part,))


def timeline_log(text: str, folder: Path) -> str:
    timeline = Timeline(folder / "timeline.jsonl")
    timeline.event(event_of(text).fields)
    timeline.line(text, text, text)
    timeline.step(text)
    timeline.fault(text, text, detail=text)
    timeline.finish()
    kept = [json.loads(line) for line in timeline.path.read_text().split("\n")[:-1]]
    assert {"line", "node", "source"} <= {key for one in kept for key in one if one[key] == text}
    return (folder / "timeline.log").read_text()


def pytest_lines(text: str, capsys: pytest.CaptureFixture[str]) -> str:
    lines: list[str] = []
    notes = _Notes(lines)
    notes.warn(text)
    notes.finish(result_of(text), Path("artifacts"))
    item = SimpleNamespace(path=Path("x.yaml"))
    told = []
    for error in (_not_passed(result_of(text).scenarios[0], Path("a")), StackError(text, text)):
        with pytest.raises(type(error)) as caught:
            raise error
        shown = ScenarioItem.repr_failure(item, caught)  # type: ignore[arg-type]
        told += [str(shown), shown.reprcrash.message]
    return "\n".join([*lines, *told, capsys.readouterr().out])


def complained(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> str:
    """Let the command line end in each kind of error."""
    said = ""
    for error in (
        InputError(text, text, (Problem(Path(text), 1, 1, text),)),
        RuntimeError(text),
        typer.BadParameter(text),
    ):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("metta_sandbox.scenario.schema.schema_text", fail)
        monkeypatch.setattr(sys, "argv", ["metta-sandbox", "schema"])
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        # A panel is drawn with what a runner can't show; its width would cut a mark in two.
        monkeypatch.setenv("COLUMNS", "400")
        with pytest.raises(SystemExit):
            cli.main()
        came = capsys.readouterr()
        assert MARK in came.err, came
        said += came.out + re.sub("\x1b\\[[0-9;]*m", "", came.err)
    return said


@pytest.mark.parametrize("text", PAYLOADS, ids=lambda text: ascii(text)[1:-1])
def test_what_is_printed_is_words_alone(text: str, tmp_path: Path) -> None:
    doors = {
        "console": reported(text),
        "live view": live(text),
        "status": on_console(lambda console: show_status(status_of(text), console)),
        "status --json": status_json(status_of(text)),
        "logs": logged(text),
        "doctor": on_console(
            lambda console: doctor.show(
                DoctorReport((DoctorItem("engine", Status.MISSING, text, "1", text),), True),
                console,
            )
        ),
        "timeline.log": timeline_log(text, tmp_path),
    }
    for said in doors.values():
        require_words_alone(said)
    assert [door for door, said in doors.items() if MARK not in said] == []
    for line in doors["console"].splitlines():
        assert not line.startswith("PASSED")
    require_words_alone("\n".join(annotate(result_of(text), tmp_path)), commands="::error ")


@pytest.mark.parametrize("text", PAYLOADS[::4] + PAYLOADS[-44:], ids=lambda text: ascii(text)[1:-1])
def test_what_commands_and_pytest_say_is_words_alone(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    require_words_alone(complained(text, capsys, monkeypatch))
    said = pytest_lines(text, capsys)
    require_words_alone(said)
    assert MARK in said


_BLOCKS = (
    *("heading", "paragraph", "blockquote", "bullet_list", "list_item"),
    *("table", "thead", "tbody", "tr", "th", "td", "strong"),
)
#: What the summary itself is made of.
_OURS = {"text", "softbreak", "code_inline", "fence", "inline"}
_OURS |= {f"{kind}_{end}" for kind in _BLOCKS for end in ("open", "close")}
_DETAILS = ("<details><summary>2 trials</summary>", "</details>")


@pytest.mark.parametrize("text", PAYLOADS, ids=lambda text: ascii(text)[1:-1])
def test_the_summary_is_words_alone(text: str) -> None:
    said = summary.render(result_of(text), Path(text))
    require_words_alone(said)
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(said)
    for token in tokens:
        for each in token.children or [token]:
            if each.type == "html_block":
                assert each.content.strip() in _DETAILS
                continue
            assert each.type in _OURS, (each.type, each.content)
            if each.type == "text":
                linked = re.search(r"@\w|#\w|://|\bwww\.|:[\w+-]+:", each.content)
                assert linked is None, each.content
    headings = sum(token.type == "heading_open" for token in tokens)
    assert headings == 3
    assert said.count(MARK) >= 12


class Outline(HTMLParser):
    """A page's tags with the names of their attributes, and all that stands in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.words: list[str] = []
        self._inside = self._data = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.words += [value or "" for _, value in attrs]
        self._inside = dict(attrs).get("type") or tag

    def handle_endtag(self, tag: str) -> None:
        self.tags.append((f"/{tag}", ()))
        if self._inside == "application/json":
            self.words += texts_in(json.loads(self._data))
        self._inside = self._data = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "application/json":
            self._data += data
        elif self._inside not in {"script", "style"}:
            self.words.append(data)


def texts_in(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for each in pair for text in texts_in(each)]
    if isinstance(value, list):
        return [text for each in value for text in texts_in(each)]
    return [value] if isinstance(value, str) else []


def page_of(texts: Sequence[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Outline:
    """Write the page of a run with a scenario for each text."""
    folders = [folder / str(number) for number in range(len(texts))]
    for text, there in zip(texts, folders, strict=True):
        entries = [
            {**event_of(text).fields, "received": 1.0},
            {"line": text, "node": text, "source": text, "received": 1},
            {"fault": text, "action": text, "detail": {"why": text}, "received": 2},
            {"step": text, "received": 3},
        ]
        there.mkdir()
        (there / "timeline.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in entries))
    told = json.dumps({"command": list(texts), "engine": texts[0]})
    (folder / "environment.json").write_text(told)
    monkeypatch.setattr(page, "scenario_folders", lambda *_: folders)
    monkeypatch.setattr(page, "_charts", lambda: "")
    scenarios = tuple(result_of(text).scenarios[0] for text in texts)
    run = result_of(texts[0]).model_copy(update={"scenarios": scenarios})
    return Outline(page.render(run, folder))


def test_the_page_is_words_alone(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = page_of([MARK] * len(PAYLOADS), tmp_path_factory.mktemp("plain"), monkeypatch)
    outline = page_of(PAYLOADS, tmp_path_factory.mktemp("hostile"), monkeypatch)
    assert outline.tags == plain.tags
    for words in outline.words:
        assert _ACTIVE.search(words) is None, words
    # Some fifty places for each, of which a picture may join two that are alike.
    assert sum(MARK in words for words in outline.words) > 49 * len(PAYLOADS)


@pytest.mark.parametrize("text", PAYLOADS, ids=lambda text: ascii(text)[1:-1])
def test_junit_is_words_alone(text: str) -> None:
    root = ET.fromstring(junit.render(result_of(text)))
    words = [
        word
        for each in root.iter()
        for word in (*each.attrib.values(), each.text or "", each.tail or "")
    ]
    assert {each.tag for each in root.iter()} == {
        *("testsuites", "testsuite", "properties", "property", "testcase", "failure"),
    }
    for word in words:
        assert _ACTIVE.search(word) is None, word
    assert sum(MARK in word for word in words) >= 10


#: Modules that print, each of which makes safe what it prints.
PRINTING = {
    "cli/__init__.py",
    "cli/files.py",
    "cli/machine.py",
    "cli/safely.py",
    "cli/standing.py",
    "doctor/show.py",
    "report/console.py",
    "report/live.py",
    "report/scene.py",
}
PRINTING |= {"report/status.py"}
#: What runs on nodes, prints its own source, or speaks to this program alone.
_NO_DOORS = (
    "node/",
    "api/",
    "probes/",
    "doctor/inside.py",
    "stack/watch_copies.py",
    "timeline/schema.py",
    "timeline/table.py",
)


def test_no_other_module_prints() -> None:
    found = set()
    for file in PACKAGE.rglob("*.py"):
        name = file.relative_to(PACKAGE).as_posix()
        nodes = ast.walk(ast.parse(file.read_text()))
        if not name.startswith(_NO_DOORS) and any(map(_prints, nodes)):
            found.add(name)
    assert found == PRINTING


def _prints(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return str(node.module).startswith("rich.")
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    return called in {"print", "typer.echo"} or called.startswith(("sys.stdout.w", "sys.stderr.w"))


def test_the_live_view_is_a_reporter_like_any_other() -> None:
    """What it prints above the view goes through the same methods."""
    printing = {"step", "warn", "_show", "_print"}
    assert not printing & vars(LiveReporter).keys()
