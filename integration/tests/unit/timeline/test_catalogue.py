"""The catalogue of events, and what is made of it."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

import metta_sandbox
from metta_sandbox.node.agent.events import (
    CATALOGUE,
    Field,
    KnownEvent,
    Name,
    NodeLost,
    RunNamed,
    Told,
    TrainStep,
)
from metta_sandbox.timeline.recording import Event, FaultAction, Line, Step, Timeline
from metta_sandbox.timeline.schema import SCHEMA_FILE, make_schema, schema_text
from metta_sandbox.timeline.table import BEGIN, END, table

DOCS = Path(__file__).parents[4] / "docs" / "artifacts.md"
PACKAGE = Path(metta_sandbox.__file__).parent
VALIDATOR = jsonschema.Draft202012Validator(make_schema())


def test_names_and_fields_for_readers_are_the_catalogues() -> None:
    fields = {field for known in CATALOGUE.values() for field in known.fields}
    origin = set(KnownEvent.__annotations__) - {"name", "teller", "fields"}

    assert get_args(Name) == tuple(CATALOGUE)
    assert set(get_args(Field)) == {"event", "received"} | origin | fields


def test_what_is_misspelt_is_a_type_error() -> None:
    # Checked by mypy alone: an ignore that is not needed is an error.
    event = Event(0.0, {"event": "run.named", "trial": 1})
    record: Mapping[str, Any] = event.fields
    told: Told = record

    assert event.name != "run.name"  # type: ignore[comparison-overlap]
    assert told.get("event") != "run.name"  # type: ignore[comparison-overlap]
    assert event.get("trail") is None  # type: ignore[arg-type]
    assert told.get("trail") is None  # type: ignore[call-overload]
    assert RunNamed(trail=1, run="r")  # type: ignore[call-arg]
    assert RunNamed(trial="1", run="r")  # type: ignore[arg-type]


def test_what_was_not_said_is_not_sent() -> None:
    assert RunNamed(trial=1, run="r").record() == {"event": "run.named", "trial": 1, "run": "r"}
    assert TrainStep(step=3).record() == {"event": "train.step", "step": 3}


def test_the_documents_table_is_the_catalogues() -> None:
    text = DOCS.read_text()
    begin, end = text.index(BEGIN), text.index(END) + len(END)

    assert text[begin:end] == table(), "python -m metta_sandbox.timeline.table"


def test_the_published_schema_is_current_and_sound() -> None:
    assert SCHEMA_FILE.read_text() == schema_text(), "python -m metta_sandbox.timeline.schema"
    jsonschema.Draft202012Validator.check_schema(make_schema())


def test_what_is_recorded_fits_the_schema(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path / "timeline.jsonl")
    timeline.tell(NodeLost(node="n", how="was killed"))
    timeline.event({"event": "train.step", "step": float("nan"), "mine": [1]})
    timeline.event({"event": "my.own", "step": {}})
    timeline.line("n", "sweep", "text")
    timeline.step("brought up")
    timeline.fault("f", "struck", kind="kill")
    timeline.finish()

    for line in (tmp_path / "timeline.jsonl").read_text().splitlines():
        VALIDATOR.validate(json.loads(line))


@pytest.mark.parametrize(
    "entry",
    [
        {**Event(1.0, RunNamed(trial=1, run="r").record()).to_json(), "trial": "1"},
        Event(1.0, {"event": "run.named", "run": "r"}).to_json(),
        {**Line(1.0, "n", "sweep", "x").to_json(), "more": 1},
        {**Step(1.0, "x").to_json(), "node": "n"},
        {**FaultAction(1.0, "x", "struck").to_json(), "detail": None},
        {"event": "my.own"},
        {"received": 1.0},
    ],
    ids=str,
)
def test_what_is_none_of_it_does_not_fit(entry: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(entry)


def test_of_ours_all_tell_events_of_the_catalogue() -> None:
    # ``emit`` takes any name and any fields, for trainers.
    said = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "emit"
    ]

    assert [place.partition(":")[0] for place in said] == ["node/agent/emitter.py"], said


@pytest.mark.parametrize("known", CATALOGUE.values(), ids=lambda known: known.name)
def test_each_event_says_what_it_means_in_a_sentence(known: type[KnownEvent]) -> None:
    assert known.__doc__
    assert known.__doc__.endswith(".")
    assert "|" not in known.__doc__
