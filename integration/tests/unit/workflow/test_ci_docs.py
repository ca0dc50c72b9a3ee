"""docs/ci.md names what there is: the action's inputs, the plugin's options, the same workflow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from metta_sandbox import init, pytest_plugin

DOCS = Path("docs/ci.md")
ACTION = Path(".github/actions/sandbox/action.yml")


def read(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path)


def table(heading: str) -> dict[str, str]:
    """Read a table's first two columns."""
    (body,) = re.findall(
        rf"^\| {heading} \|.*\n\|[- |]+\n((?:\|.*\n)+)", DOCS.read_text(), re.MULTILINE
    )
    rows = (line.strip("| ").split(" | ") for line in body.splitlines())
    return {name.strip("`"): default.strip("`") for name, default, *_ in rows}


def test_the_actions_inputs() -> None:
    inputs = read(ACTION)["inputs"]

    assert table("input") == {name: one["default"] or "none" for name, one in inputs.items()}


def test_the_plugins_options() -> None:
    source = Path(pytest_plugin.__file__).read_text()

    assert set(table("option")) == set(
        re.findall(r'^        "(--sandbox-\S+)",$', source, re.MULTILINE)
    )


def test_the_workflow_of_init_gives_the_action_inputs_that_it_has() -> None:
    package = Path(init.__file__).parent
    steps = read(package / "workflow.yml")["jobs"]["sandbox"]["steps"]
    (ours,) = (step for step in steps if step["uses"].startswith("metta-ai/"))

    assert f"/{ACTION.parent}@" in ours["uses"]
    assert set(ours["with"]) <= set(read(ACTION)["inputs"])
    assert ours["uses"] in DOCS.read_text()


def test_actions_of_others_are_of_the_same_commit_everywhere() -> None:
    package = Path(init.__file__).parent
    files = [*Path(".github").rglob("*.yml"), package / "workflow.yml"]
    found = {
        tuple(used.split("@"))
        for file in files
        for used in re.findall(r"uses: (actions/\S+ # \S+)", file.read_text())
    }

    assert len(found) == len({name for name, _ in found}) == 3
