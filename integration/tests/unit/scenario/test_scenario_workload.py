"""What may run, and be answered, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.loading import parse
from metta_sandbox.scenario.workload import variable_of

CLASH = """\
workload: {trainer: {command: a, overrides_style: env, overrides: {a.b: 1}}}
sweep: {parameters: {a_b: {values: [1]}}}"""


def read(text: str) -> object:
    return parse(f"version: 1\nname: x\n{text}\n", Path("x.yaml"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("workload: {run: a, trainer: {command: b}}", "either run, your own command, or trainer"),
        ("workload: {run: ''}", "expected some text"),
        (
            "workload: {run: a}\nsweep: {parameters: {lr: {values: [1]}}}",
            "nobody suggests anything",
        ),
        ("workload: {trainer: {command: 'a \"b'}}", "as a shell reads them"),
        ("workload: {trainer: {launcher: own}}", "own needs a command"),
        ("workload: {trainer: {overrides_style: flags}}", "the bundled trainer takes hydra"),
        (
            "workload: {trainer: {command: a, overrides_style: file}}",
            "file needs {overrides_file} or {overrides_yaml}",
        ),
        ("workload: {env: {'A B': 1}}", "expected a variable's name"),
        ("workload: {env: {A: true}}", "expected text"),
        ("workload: {trainer: {ranks_per_node: 0}}", "expected 1 or more"),
        ("workload: {trainer: {score: {source: json}}}", "expected path with source json"),
        ("workload: {trainer: {score: {source: log}}}", "expected pattern with source log"),
        (
            "workload: {trainer: {score: {source: log, pattern: loss}}}",
            "expected a pattern with a group",
        ),
        ("workload: {trainer: {score: {source: none, key: a}}}", "expected no key with"),
        (CLASH, "a.b has the same variable, A_B"),
        ("services: {api: [{route: 'GET /sweeps/{name}'}]}", "status, body, delay or drop"),
        (
            "services: {api: [{route: 'POST /sweeps/{name}/run/next', drop: true}]}",
            "did you mean POST /sweeps/{name}/runs/next?",
        ),
        ("services: {api: [{route: 'GET /health', status: 503}]}", "no such route"),
        ("services: {api: [{route: 'GET /whoami', drop: true, status: 503}]}", "no status and no"),
        ("services: {api: [{route: 'GET /whoami', status: 99}]}", "expected 200 or more"),
        ("services: {api: [{route: 'GET /whoami', status: 503, call: 0}]}", "expected 1 or more"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read(text)
    assert said in str(caught.value)


def test_commands_calls_and_numbers_are_read_as_people_write_them() -> None:
    scenario = parse(
        "version: 1\nname: x\nnodes: 2\n"
        "workload: {env: {EPOCHS: 3}, trainer: {command: 'a \"b c\"', ranks_per_node: 4}}\n"
        "services: {api: [{route: GET /whoami, call: 2, delay: 2s}]}\n",
        Path("x.yaml"),
    )

    assert scenario.workload.env == {"EPOCHS": "3"}
    assert scenario.workload.trainer.command == ("a", "b c")
    assert scenario.ranks == 8
    (rule,) = scenario.services.api
    assert (rule.call, rule.delay) == ((2,), 2.0)
    assert (rule.takes("GET /whoami", 2), rule.takes("GET /whoami", 1)) == (True, False)
    assert str(rule) == "GET /whoami call 2: wait 2 s"


def test_a_key_becomes_a_variable() -> None:
    assert variable_of("trainer.learning-rate") == "TRAINER_LEARNING_RATE"


def test_another_mistake_makes_no_stranger_of_ones_own_keys() -> None:
    text = "nodes: a\nworkload: {trainer: {command: t}}\nsweep: {parameters: {lr: {values: [1]}}}"
    with pytest.raises(InputError) as caught:
        read(text)
    assert len(caught.value.problems) == 1
