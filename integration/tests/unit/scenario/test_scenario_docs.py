"""docs/scenarios.md says what the model says."""

import re
from pathlib import Path

import pytest

from metta_sandbox.node.agent.events import CATALOGUE
from metta_sandbox.scenario.artifacts import Artifacts
from metta_sandbox.scenario.expect import KINDS, records
from metta_sandbox.scenario.expect.bounds import Bounds, Level
from metta_sandbox.scenario.expect.records import EventPattern
from metta_sandbox.scenario.loading import parse, parse_file
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.names import TRAINER_KEYS
from metta_sandbox.scenario.provision import ImageBuild, Mount
from metta_sandbox.scenario.search import Choice, Distribution, Range, Sweep
from metta_sandbox.scenario.services import ScriptedAnswer, Services
from metta_sandbox.scenario.steady_state import STATES
from metta_sandbox.scenario.workload import ScoreSource, Trainer, Workload

DOCS_FILE = Path(__file__).parents[4] / "docs" / "scenarios.md"
DOCS = DOCS_FILE.read_text()
#: What each kind of expectation, and of steady state, says.
SAID = [
    next(iter(item.model_fields.values())).annotation
    for item in (*KINDS.values(), *STATES.values())
]
EXAMPLES = re.findall(r"^\| `\w+` \|.*\| `(\w+: .*)` \|$", DOCS, re.MULTILINE)
BLOCKS = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_example_is_a_scenario(block: str) -> None:
    for scenario in parse_file(block, DOCS_FILE).scenarios:
        assert f"name: {scenario.id.partition('[')[0]}\n" in block


@pytest.mark.parametrize(
    "part",
    [
        *(Scenario, Sweep, Range, Choice, Bounds, Level, EventPattern),
        *SAID,
        *(Workload, ImageBuild, Mount, Trainer, ScoreSource, Services, ScriptedAnswer),
        Artifacts,
    ],
)
def test_every_key_is_documented(part: type[Scenario]) -> None:
    for key in part.model_fields:
        assert re.search(rf"`(?:workload\.)?{key}`", DOCS), key


def test_every_kind_has_an_example_that_is_one() -> None:
    assert [example.partition(":")[0] for example in EXAMPLES] == list(KINDS)
    for example in EXAMPLES:
        parse(f"version: 1\nname: x\nexpect:\n  - {example}\n", DOCS_FILE)


def test_every_word_is_documented() -> None:
    for word in (*KINDS, *STATES, *TRAINER_KEYS, *Distribution.__args__):  # type: ignore[attr-defined]
        assert f"`{word}`" in DOCS, word


def test_documented_defaults_are_the_defaults() -> None:
    for part in (Scenario, Sweep):
        section = DOCS.split("### `sweep`")[part is Sweep]
        for key, field in part.model_fields.items():
            row = re.search(rf"^\| `{key}` \| .*? \| `([a-z0-9_]+)` \|", section, re.MULTILINE)
            if row and key not in {"deadline", "longest_silence"}:
                assert row[1] == str(field.default).lower(), key
    assert "| `deadline` | duration | `10m` |" in DOCS
    assert "| `longest_silence` | duration | `1m` |" in DOCS
    scenario = parse("version: 1\nname: x", Path("x"))
    assert (scenario.deadline, scenario.longest_silence) == (600, 60)


def test_every_event_of_the_catalogue_is_told_somewhere() -> None:
    code = Path(records.__file__).parents[2]
    told = {
        name
        for file in code.rglob("*.py")
        if file.name != "events.py"
        for name in re.findall(r"\b[A-Z]\w+\b|\"[a-z]+\.[a-z]+\"", file.read_text())
    }
    silent = [one.name for one in CATALOGUE.values() if not told & {one.__name__, f'"{one.name}"'}]
    assert silent == []
