"""Whatever nodes put in a file's place, nothing of the caller's is read, hangs or is told."""

from __future__ import annotations

import io
import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from metta_sandbox import removing
from metta_sandbox.checks import trials
from metta_sandbox.checks.evaluation import evaluate
from metta_sandbox.play import collection
from metta_sandbox.play.examiner import Examiner
from metta_sandbox.play.node_commands import Executed
from metta_sandbox.play.resume import resume
from metta_sandbox.report import junit, page, results, summary
from metta_sandbox.report.console import Reporter
from metta_sandbox.report.results import LeftOut, RunResult, ScenarioResult
from metta_sandbox.scenario.artifacts import Artifacts
from metta_sandbox.scenario.faults.kinds.corrupt import CorruptFault, CorruptFile
from metta_sandbox.scenario.faults.kinds.wandb_folder import BlockWandbFolder, WandbFolderFault
from metta_sandbox.scenario.loading import Loaded
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.stack.engines.base import StackPlan
from metta_sandbox.timeline.recording import Timeline
from metta_sandbox.verdict import worst

if TYPE_CHECKING:
    from tests.unit.checks.conftest import Played

SECRET = "only-for-the-caller"
RUN = "basic.r.1"
TRIAL = f"trials/{RUN}"
HOST = "sweep-master"
LOOK = json.dumps({"problem": SECRET, "processes": []})
ERROR = (
    f'Traceback (most recent call last):\n  File "/w/t.py", line 1, in main\nValueError: {SECRET}\n'
)
LIFE = {"at": 1.0, "start": {"pid": 7, "argv": [SECRET], "environ": {"RANK": SECRET}, "trial": 1}}
TOLD = {"run": RUN, "trial": 1, "status": "failed", "reason": SECRET}
OBSERVED = {"observation": {"cost": 1.0}, "run": SECRET}
#: Each file that nodes write, with what it would say if it were led to the secret.
FILES: dict[str, str | Mapping[str, Any]] = {
    f"{TRIAL}/rank-0.log": ERROR,
    f"{TRIAL}/rank-1.log": ERROR,
    f"{TRIAL}/launcher-0.log": ERROR,
    f"{TRIAL}/trial.json": TOLD,
    f"{TRIAL}/overrides.json": {"a": SECRET},
    f"{TRIAL}/rank-0.digest": SECRET,
    f"{TRIAL}/checkpoint.pt": SECRET,
    f"{TRIAL}/autopsy-0.json": LOOK,
    f"{TRIAL}/flight-0.json": {"partial": True, "entries": [], "stacks": [], "x": SECRET},
    f"{TRIAL}/rank-0/wandb/run-1/run-{RUN}.wandb": SECRET,
    f"wandb/offline-run-20261122_184202-{RUN}/run-{RUN}.wandb": SECRET,
    f".autopsy-{HOST}.json": LOOK,
    f".lives/{HOST}/7.jsonl": LIFE,
    "observations.jsonl": OBSERVED,
    "workspace/data": SECRET,
}
#: And the folders that they are in.
FOLDERS = ("trials", TRIAL, "wandb", ".lives", f".lives/{HOST}", "workspace")


def huge(path: Path, _secret: Path) -> None:
    with path.open("wb") as file:
        file.truncate(5 << 30)


def folder(path: Path, _secret: Path) -> None:
    path.mkdir()
    (path / "within").symlink_to("/")


KINDS: dict[str, Callable[[Path, Path], object]] = {
    "link": lambda path, secret: path.symlink_to(secret),
    "hard link": lambda path, secret: path.hardlink_to(secret),
    "pipe": lambda path, _secret: os.mkfifo(path),
    "folder": folder,
    "huge": huge,
}


class Struck:
    """A run whose nodes have put something else in a file's place, up to its report."""

    def __init__(self, played: Played, home: Path, name: str, strike: Any, text: str) -> None:
        self.played, self.folder = played, played.folder
        self.shared = self.folder / "shared"
        self.home = home
        for moved in collection.MOVED:
            (self.folder / moved).rename(self.shared / moved)
        for each in FILES:
            (self.shared / each).parent.mkdir(parents=True, exist_ok=True)
        home.mkdir()
        self.secret = home / "secret"
        self.secret.write_text(text)
        path = self.shared / name
        if path.is_dir():
            removing.remove(path.parent, path.name)
        path.unlink(missing_ok=True)
        strike(path, self.secret)
        self.told = io.StringIO()

    def collect(self) -> LeftOut:
        """Do what is done at a scenario's end, once it was looked into while it was played."""
        scenario = Scenario.model_validate({"version": 1, "name": "basic"})
        timeline = Timeline(self.folder / "played.jsonl")
        examiner = Examiner(
            scenario,
            timeline,
            run_folder=self.shared,
            python="py",
            execute=lambda _group, commands, _patience: {host: Executed(0) for host in commands},
            tell=lambda sentence: print(sentence, file=self.told),
        )
        for event in self.played.events:
            timeline.event(event)
        examiner.take(timeline.event({"event": "observation.recorded", "trial": 1, "failed": True}))
        examiner.sweep_broke({})
        examiner.keep(self.folder)
        timeline.finish()
        self.causes = examiner.causes
        told = collection.keep_within(self.shared, Artifacts())
        for name in collection.MOVED:
            if (self.shared / name).exists():
                removing.take(self.shared / name, self.folder / name)
        return told

    def report(self, left_out: LeftOut) -> None:
        """Judge what there is, and write every kind of report."""
        evidence = self.played.evidence(
            {"log": {"lacks": "only.for.the.caller"}}, {"checkpoint": {"file": "*.pt"}}
        )
        checks = evaluate(evidence)
        result = ScenarioResult(
            name="basic",
            file="basic.yaml",
            verdict=worst(check.verdict for check in checks),
            engine="process",
            nodes=2,
            seconds=1,
            checks=checks,
            trials=self._trials(evidence),
            causes=self.causes,
            left_out=left_out,
        )
        run = RunResult(
            run="r", verdict=result.verdict, engine="process", seconds=1, scenarios=(result,)
        )
        out = self.folder.parent
        results.write(run, out)
        (out / "junit.xml").write_bytes(junit.render(run))
        (out / "summary.md").write_text(summary.render(run, out))
        results.write_text(out / "report.html", page.render(run, out))
        Reporter(verbose=True, console=Console(file=self.told)).scenario(result)

    def _trials(self, evidence: Any) -> Any:
        return trials.results(evidence)

    def holding(self) -> list[str]:
        """List where the secret stands in what was written and told."""
        found = ["the console"] if SECRET in self.told.getvalue() else []
        for path in self.folder.parent.rglob("*"):
            kind = path.lstat().st_mode
            is_plain = stat.S_ISREG(kind) and path.lstat().st_size < 1 << 28
            if is_plain and self.home not in path.parents and SECRET.encode() in path.read_bytes():
                found.append(str(path))
        return found


@pytest.fixture
def struck(played: Played, tmp_path: Path) -> Callable[..., Struck]:
    run = tmp_path / "run" / "basic"
    run.parent.mkdir()

    def make(name: str, strike: Any) -> Struck:
        said = FILES.get(name, ERROR)
        text = said if isinstance(said, str) else json.dumps(said)
        return Struck(moved(played, run), tmp_path / "home", name, strike, text)

    return make


def moved(played: Played, target: Path) -> Played:
    """Put what was played where a run has it."""
    (target / "shared").mkdir(parents=True)
    for each in list(played.folder.iterdir()):
        if each != target.parent:
            each.rename(target / each.name)
    played.folder = target
    return played


@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_read_that_is_no_file_of_the_nodes(
    struck: Callable[..., Struck], kind: str, name: str
) -> None:
    if name in FOLDERS and kind == "hard link":
        pytest.skip("folders have none")
    one = struck(name, KINDS[kind])

    left_out = one.collect()
    one.report(left_out)

    assert one.holding() == []
    odd = [
        str(path)
        for path in one.folder.rglob("*")
        if not stat.S_ISDIR(mode := path.lstat().st_mode)
        and not (stat.S_ISREG(mode) and path.lstat().st_nlink == 1)
    ]
    assert odd == []
    assert sum(path.lstat().st_size for path in one.folder.rglob("*")) < 1 << 30
    if not name.startswith(".autopsy"):  # which is asked for, and removed, while it is played
        assert left_out.count == 1
        assert name.rpartition("/")[2] in left_out.files[0].file
        assert "left out of the artifacts" in one.told.getvalue()
        for report in ("report.html", "results.json", "summary.md"):
            assert left_out.files[0].why in (one.folder.parent / report).read_text()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", KINDS)
def test_readers_need_no_collection_to_be_safe(
    struck: Callable[..., Struck], kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "keep_within", lambda *_: LeftOut())
    one = struck(name, KINDS[kind])
    one.report(one.collect())
    hidden = [each for each in one.holding() if not each.endswith(name)]
    assert hidden == []


@pytest.mark.parametrize("name", [f"{TRIAL}/rank-0.log", f"{TRIAL}/trial.json"])
def test_what_stands_in_files_of_the_nodes_is_seen(
    struck: Callable[..., Struck], name: str
) -> None:
    one = struck(name, lambda path, secret: path.write_bytes(secret.read_bytes()))
    one.report(one.collect())
    assert {"the console"} <= set(one.holding())


def faults(folder: Path) -> Sequence[Any]:
    ground: Any = type("Ground", (), {"plan": type("Plan", (), {"run_folder": folder})})
    corrupt = CorruptFile("c", CorruptFault(file="checkpoint.pt", how="empty"), ground)
    corrupt.moment = {"run": "r"}
    return corrupt, BlockWandbFolder("w", WandbFolderFault(), ground)


@pytest.mark.parametrize("kind", ["link", "hard link"])
def test_faults_of_files_write_to_no_other(tmp_path: Path, kind: str) -> None:
    shared, secret = tmp_path / "shared", tmp_path / "secret"
    (shared / "trials" / "r").mkdir(parents=True)
    secret.write_text(SECRET)
    corrupt, block = faults(shared)
    KINDS[kind](shared / "trials" / "r" / "checkpoint.pt", secret)
    KINDS[kind](shared / "wandb", secret)

    for step in (corrupt.before, corrupt.inject, block.inject):
        with pytest.raises(OSError, match=r"."):
            step()
    block.during()
    block.heal()
    assert secret.read_text() == SECRET


def test_a_run_name_leads_faults_nowhere(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "checkpoint.pt").write_text(SECRET)
    corrupt, _ = faults(tmp_path / "shared")
    corrupt.moment = {"run": "../.."}
    with pytest.raises(OSError, match="not beneath"):
        corrupt.before()


@pytest.mark.parametrize("kind", KINDS)
def test_a_sweep_that_is_resumed_reads_its_own_observations(tmp_path: Path, kind: str) -> None:
    earlier, secret = tmp_path / "runs" / "1" / "basic", tmp_path / "secret"
    (earlier / "shared").mkdir(parents=True)
    (earlier / "api").mkdir()
    secret.write_text(json.dumps(OBSERVED) + "\n")
    KINDS[kind](earlier / "shared" / "observations.jsonl", secret)
    KINDS[kind](earlier / "api" / "state.sqlite3", secret)
    said = {"version": 1, "name": "basic", "sweep": {"resume": "latest"}}
    loaded = Loaded(Scenario.model_validate(said), tmp_path / "basic.yaml")
    plan = StackPlan("2", "basic", ("sweep-master",), tmp_path / "runs" / "2" / "basic")
    plan.run_folder.mkdir(parents=True)
    told: list[str] = []

    if kind == "huge":
        with pytest.raises(OSError, match="bytes"):
            resume(loaded, plan, told.append)
    else:
        resume(loaded, plan, told.append)
        assert told == ["no earlier run has trials of basic: the sweep begins anew"]
    assert list(plan.run_folder.iterdir()) == []
