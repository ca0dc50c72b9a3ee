"""The reusable action: its steps, taken from its file, executed as GitHub executes them."""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from metta_sandbox import init
from metta_sandbox.report import results

ACTION = Path(".github/actions/sandbox/action.yml").resolve()
SCENARIO = """\
version: 1
name: NAME
tags: [TAG]
variables: {word: hello}
nodes: 1
workload: {run: "echo ${word}"}
expect:
  - log: {contains: 'rank 0\\] hello'}
"""


def read(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path)


def steps() -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in read(ACTION)["runs"]["steps"]}


@dataclass(frozen=True)
class Job:
    """A job's folders, and what GitHub's files in it say."""

    workspace: Path
    temp: Path

    def execute(
        self, name: str, given: Mapping[str, str], event: str = "push", head: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Execute a step with bash, with the environment and the options that GitHub gives it."""
        step = steps()[name]
        assert step["shell"] == "bash"
        known = {key: str(each["default"]) for key, each in read(ACTION)["inputs"].items()}
        assert set(given) <= set(known)
        values = {f"inputs.{key}": value for key, value in {**known, **given}.items()}
        values["github.action_path"] = str(ACTION.parent)
        values["github.event.pull_request.head.repo.full_name"] = head

        def evaluate(text: str) -> str:
            return re.sub(r"\$\{\{ (.+?) \}\}", lambda found: values[found[1]], text)

        script = self.temp / "step.sh"
        script.write_text(step["run"])
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", script],
            cwd=self.workspace,
            env={
                **os.environ,
                **{key: evaluate(text) for key, text in step["env"].items()},
                "CI": "true",
                "GITHUB_ACTIONS": "true",
                "GITHUB_EVENT_NAME": event,
                "GITHUB_REPOSITORY": "we/ours",
                "GITHUB_OUTPUT": str(self.temp / "output"),
                "GITHUB_STEP_SUMMARY": str(self.temp / "summary"),
                "GITHUB_WORKSPACE": str(self.workspace),
                "RUNNER_TEMP": str(self.temp),
                "XDG_STATE_HOME": str(self.temp / "state"),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )

    @property
    def artifacts(self) -> Path:
        """The folder that the step names in its outputs."""
        name, _, folder = (self.temp / "output").read_text().strip().partition("=")
        assert name == "artifacts"
        return Path(folder)

    @property
    def summary(self) -> str:
        return (self.temp / "summary").read_text()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install as the action does; what only nodes need is taken from here."""
    temp = tmp_path_factory.mktemp("temp")
    said = Job(temp, temp).execute("Install", {"python": sys.executable})
    assert said.returncode == 0, said.stdout
    (packages,) = (temp / "metta-sandbox").glob("lib/python3*/site-packages")
    (packages / "nodes.pth").write_text(
        f"import site; site.addsitedir({site.getsitepackages()[0]!r})\n"
    )
    return temp / "metta-sandbox"


@pytest.fixture
def job(installed: Path, tmp_path: Path) -> Job:
    made = Job(tmp_path / "workspace", tmp_path / "temp")
    made.workspace.mkdir()
    made.temp.mkdir()
    (made.temp / "metta-sandbox").symlink_to(installed)
    return made


@pytest.fixture
def write(job: Job) -> Callable[[str, str], Path]:
    def written(name: str, tag: str) -> Path:
        path = job.workspace / "scenarios" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(SCENARIO.replace("NAME", name).replace("TAG", tag))
        return path

    return written


def test_the_workflow_of_init_plays_the_scenario_of_init(job: Job) -> None:
    init.write(job.workspace)
    workflow = read(job.workspace / init.WORKFLOW)
    (step,) = (
        each
        for each in workflow["jobs"]["sandbox"]["steps"]
        if "/.github/actions/sandbox@" in each["uses"]
    )

    said = job.execute("Play", {**step["with"], "engine": "process"})

    assert said.returncode == 0, said.stdout
    assert "PASSED first" in said.stdout
    assert job.summary.startswith("## ✅ 1 scenario passed")
    assert results.read(job.artifacts / "latest").verdict == "passed"
    assert (job.artifacts / "latest" / "report.html").exists()


def test_a_failure_ends_in_its_status_with_summary_annotation_and_artifacts(
    job: Job, write: Callable[[str, str], Path]
) -> None:
    for name, tag in (("one", "left"), ("two", "right"), ("three", "neither")):
        write(name, tag)

    said = job.execute(
        "Play",
        {
            "scenarios": "scenarios/one.yaml\nscenarios\n",
            "engine": "process",
            "filter": "left\nright\n",
            "set": "word=good bye",
        },
    )

    assert said.returncode == 1, said.stdout
    assert "::error file=scenarios/one.yaml,line=8," in said.stdout
    assert "❌" in job.summary
    run = results.read(job.artifacts / "latest")
    assert [(one.name, one.verdict) for one in run.scenarios] == [
        ("one", "failed"),
        ("two", "failed"),
    ]


def test_what_is_given_is_never_taken_for_a_command(job: Job) -> None:
    evil = "\"; touch pwned; $(touch pwned) `touch pwned` ' --help"

    given = {"scenarios": f"{evil}\n-h\n", "filter": evil, "set": f"x={evil}"}
    said = job.execute("Play", given)

    assert said.returncode == 2, said.stdout
    assert evil in said.stdout
    assert not list(job.artifacts.iterdir()), "nothing is there to be uploaded"
    assert not list(job.workspace.iterdir())


@pytest.mark.parametrize(
    ("event", "head", "untrusted", "status"),
    [
        ("pull_request", "they/ours", "auto", 3),
        ("pull_request", "", "auto", 3),
        ("push", "", "true", 3),
        ("pull_request", "we/ours", "auto", 2),
        ("pull_request", "they/ours", "false", 2),
        ("pull_request_target", "we/ours", "false", 2),
    ],
)
def test_files_of_a_fork_are_a_strangers(
    job: Job, event: str, head: str, untrusted: str, status: int
) -> None:
    # Nothing is played: a stranger's needs containers, and another's is not there.
    (job.workspace / "x.yaml").write_text("version: 1\nname: x\n")
    scenarios = "x.yaml" if status == 3 else "none.yaml"
    given = {"scenarios": scenarios, "engine": "process", "untrusted": untrusted}

    said = job.execute("Play", given, event, head)

    assert said.returncode == status, said.stdout
    assert ("--untrusted needs containers" in said.stdout) == (status == 3)
    assert ("hands this repository's secrets" in said.stdout) == (event == "pull_request_target")


def test_inputs_reach_commands_by_their_environment_alone() -> None:
    for step in steps().values():
        assert "${{" not in step.get("run", "")


def test_artifacts_are_uploaded_whatever_came_of_the_run() -> None:
    step = steps()["Keep the artifacts"]

    assert step["if"].startswith("${{ always() ")
    assert step["with"]["path"].splitlines()[0] == "${{ steps.play.outputs.artifacts }}"
    assert steps()["Play"]["id"] == "play"
