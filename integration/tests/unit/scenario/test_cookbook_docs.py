"""docs/cookbook.md and scenarios/cookbook are the same cookbook, and its recipes read alike."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from metta_sandbox.scenario.loading import load, parse

ROOT = Path(__file__).parents[4]
COOKBOOK = ROOT / "scenarios" / "cookbook"
DOCS = (ROOT / "docs" / "cookbook.md").read_text()
RECIPES = sorted(COOKBOOK.glob("[!_]*.yaml"))
SCHEMA = ROOT / "integration" / "metta_sandbox" / "scenario" / "schema.json"


def test_the_table_names_every_recipe_once() -> None:
    row = r"^\| [^|]+ \| \[([^]]+)\]\(\.\./scenarios/cookbook/\1\) \|"
    rows = re.findall(row, DOCS, re.MULTILINE)

    assert sorted(rows) == [path.name for path in RECIPES]
    assert len(rows) >= 15


def test_every_recipe_has_its_say_below_the_table() -> None:
    said = set(re.findall(r"\[([a-z-]+)\]\(\.\./scenarios/cookbook/\1\.yaml\)", DOCS))

    assert said == {path.stem for path in RECIPES}


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", DOCS)

    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_recipes_printed_in_full_are_those_of_the_files() -> None:
    printed = [
        parse(block, COOKBOOK / "printed.yaml")
        for block in re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    ]
    scripts = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)

    assert [each.name for each in printed] == ["hand-off", "my-ddp-script"]
    assert printed == [load(COOKBOOK / f"{each.name}.yaml") for each in printed]
    assert scripts == [(COOKBOOK / "trainers" / "ddp.py").read_text()]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_short_and_says_what_it_is(recipe: Path) -> None:
    text = recipe.read_text()
    first, *lines = text.splitlines()
    content = YAML(typ="safe", pure=True).load(text)

    assert first.startswith("# yaml-language-server: $schema=")
    assert (recipe.parent / first.split("=", 1)[1]).resolve() == SCHEMA
    assert len(lines) < 40
    assert content["name"] == recipe.stem
    assert re.fullmatch(r"[A-Z].*\.", content["description"])
    assert ". " not in content["description"]
    assert content["tags"][0] == "cookbook"
    assert len(content["tags"]) > 1
    assert content["expect"]
