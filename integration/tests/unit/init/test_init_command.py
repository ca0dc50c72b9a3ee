"""What `metta-sandbox init` writes, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from metta_sandbox.cli import app
from metta_sandbox.errors import InputError
from metta_sandbox.scenario.schema import schema_text

RULES = Path(".github/zizmor.yml").resolve()
FILES = [
    ".github/workflows/sandbox.yml",
    "scenarios/first.yaml",
    "scenarios/scenario.schema.json",
]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(*words: str) -> str:
    outcome = CliRunner().invoke(app, words, catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


def there(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in files)
    return sorted(name for name in names if not name.startswith(".git/"))


def test_an_empty_repository_gets_a_valid_scenario_and_the_next_commands(repository: Path) -> None:
    lines = said("init").splitlines()

    assert there(repository) == FILES
    assert {f"wrote {name}" for name in FILES} <= set(lines)
    assert lines[-2:] == [
        "  metta-sandbox validate scenarios/first.yaml",
        "  metta-sandbox run scenarios/first.yaml",
    ]
    assert "scenarios/first.yaml: first is valid" in said("validate", "scenarios/first.yaml")


def test_the_first_line_names_the_schema_which_is_there(repository: Path) -> None:
    said("init")

    first = (repository / "scenarios/first.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=scenario.schema.json"
    assert (repository / "scenarios/scenario.schema.json").read_text() == schema_text()


def test_the_workflow_passes_its_schema_and_the_security_linter(repository: Path) -> None:
    said("init")

    tools = Path(sys.executable).parent
    commands: list[list[str | Path]] = [
        [tools / "check-jsonschema", "--builtin-schema", "vendor.github-workflows"],
        [tools / "zizmor", "--offline", "--config", RULES],
    ]
    for command in commands:
        told = subprocess.run(
            [*command, repository / FILES[0]], capture_output=True, text=True, check=False
        )
        assert told.returncode == 0, told.stdout + told.stderr


def test_nothing_is_overwritten(repository: Path) -> None:
    mine = repository / "scenarios" / "first.yaml"
    mine.parent.mkdir()
    mine.write_text("mine\n")

    told = said("init")

    assert mine.read_text() == "mine\n"
    assert "scenarios/first.yaml is there already, and was left as it is" in told
    assert "wrote .github/workflows/sandbox.yml" in told
    again = said("init")
    assert "wrote" not in again
    assert there(repository) == FILES


def test_another_folder_may_be_named(repository: Path) -> None:
    told = said("init", "../my own")

    assert there(repository.parent / "my own") == FILES
    assert "  metta-sandbox run '../my own/scenarios/first.yaml'" in told


def test_a_folder_inside_of_a_repository_is_refused(repository: Path) -> None:
    (repository / "inner").mkdir()

    with pytest.raises(InputError, match="inside of the repository") as told:
        CliRunner().invoke(app, ["init", "inner"], catch_exceptions=False)

    assert told.value.hint == f"metta-sandbox init {repository}"
    assert there(repository) == []


@pytest.mark.parametrize("name", ["scenarios", "scenarios/first.yaml/", ".github/workflows"])
def test_what_is_in_the_way_is_told(repository: Path, name: str) -> None:
    path = repository / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith("/"):
        path.mkdir()
    else:
        path.write_text("")

    with pytest.raises(InputError, match=name.rstrip("/")):
        CliRunner().invoke(app, ["init"], catch_exceptions=False)
