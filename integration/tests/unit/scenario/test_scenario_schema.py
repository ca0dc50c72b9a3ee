"""The JSON Schema that editors use, the model, the docs and the examples say the same."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from metta_sandbox.scenario import schema as schemas
from metta_sandbox.scenario.generated import generated
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.schema import FILE_KEYS, make_schema

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
SHIPPED = Path(schemas.__file__).with_name("schema.json")
EXAMPLES = sorted((ROOT / "scenarios").rglob("*.yaml"))
VALID = [*EXAMPLES, *sorted((HERE / "valid").glob("*.yaml"))]
INVALID = sorted((HERE / "invalid").glob("*.yaml"))
#: What is wrong with these is no matter of keys, types and bounds.
BEYOND_A_SCHEMA = {
    "durations",
    "expectation-hosts",
    "fractions",
    "grid",
    "hosts",
    "override-grammar",
    "override-values",
    "overrides-twice",
    "twice-by-dots",
    "yaml-1.1",
}
VALIDATOR = jsonschema.Draft202012Validator(make_schema())
BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "scenarios.md").read_text(), re.DOTALL)


def data_of(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


@pytest.mark.parametrize(
    ("file", "text"), generated().items(), ids=[one.name for one in generated()]
)
def test_what_is_made_of_the_kinds_is_up_to_date(file: Path, text: str) -> None:
    assert file.read_text() == text, "python -m metta_sandbox.scenario.generated"


def test_the_shipped_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(make_schema())


def test_the_schema_has_the_models_keys_and_those_of_files() -> None:
    assert set(make_schema()["properties"]) == {*Scenario.model_fields, *FILE_KEYS}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_examples_first_line_names_the_schema(path: Path) -> None:
    first = path.read_text().partition("\n")[0]
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert named != first
    assert (path.parent / named).resolve() == SHIPPED


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_the_schema_takes_valid_files(path: Path) -> None:
    VALIDATOR.validate(data_of(path.read_text()))


@pytest.mark.parametrize("block", BLOCKS)
def test_the_schema_takes_the_docs_examples(block: str) -> None:
    VALIDATOR.validate(data_of(block))


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_the_schema_refuses_what_one_can(path: Path) -> None:
    try:
        data = data_of(path.read_text())
    except Exception:  # noqa: BLE001 - no YAML at all, which an editor says by itself
        return
    assert VALIDATOR.is_valid(data) == (path.stem in BEYOND_A_SCHEMA)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sweep": {"trails": 1}},
        {"sweep": {"parameters": {"a": {"values": []}}}},
        {"sweep": {"strategy": "x"}},
        {"nodes": 65},
        {"nodes": "two"},
        {"nodes": "${1n}"},
        {"matrix": {"nodes": []}},
        {"matrix": {"nodes": [65]}},
        {"matrix": {"trainer.batch_size": ["many"]}},
        {"variables": {"a": {"defualt": 1}}},
        {"variables": {"1a": 1}},
        {"extends": ""},
    ],
)
def test_the_schema_refuses(wrong: dict[str, Any]) -> None:
    assert VALIDATOR.is_valid({"version": 1, "name": "x"})
    assert not VALIDATOR.is_valid({"version": 1, "name": "x", **wrong})


def test_every_key_is_described() -> None:
    schema = make_schema()
    json.dumps(schema)
    parts = [schema, *schema["$defs"].values()]
    described = [part["properties"] for part in parts if "properties" in part]
    assert len(described) > 8
    for properties in described:
        for key, value in properties.items():
            # What several parts share is described where it stands.
            shared = value.get("$ref") == f"#/$defs/FaultItem/properties/{key}"
            assert shared or value.get("description"), key
