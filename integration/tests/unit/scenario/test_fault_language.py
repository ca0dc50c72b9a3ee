"""The language of faults: what a file may say, and what is refused, where and with what hint."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.faults import CATALOGUE, names_of
from metta_sandbox.scenario.faults.base import FaultKind
from metta_sandbox.scenario.faults.injected import injected_ranks
from metta_sandbox.scenario.loading import parse, parse_file, to_yaml
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.needs import lacking
from metta_sandbox.scenario.schema import make_schema
from metta_sandbox.stack.engines.compose.engine import ComposeEngine
from metta_sandbox.stack.engines.process.engine import ProcessEngine

DOCS_FILE = Path(__file__).parents[4] / "docs" / "faults.md"
DOCS = DOCS_FILE.read_text()
SCHEMA = make_schema()
KILL = "{kill: {node: sweep-worker}, when: {after: 1s}}"


def text(*faults: str, more: str = "") -> str:
    """Write a scenario; ``W`` stands for a node."""
    listed = [f"  - {each}".replace(" W", " {node: sweep-worker}") for each in faults]
    return "\n".join(["version: 1", "name: x", more, "faults:", *listed])


def read(*faults: str, more: str = "") -> Scenario:
    return parse(text(*faults, more=more), Path("x.yaml"))


def refusal(*faults: str, more: str = "") -> str:
    with pytest.raises(InputError) as caught:
        read(*faults, more=more)
    (problem,) = caught.value.problems
    return f"{problem.line}:{problem.column} {problem.message}"


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=list(CATALOGUE))
def test_every_example_is_a_fault_that_reads_back_and_fits_the_schema(
    kind: type[FaultKind],
) -> None:
    scenario = read(kind.example)

    assert type(scenario.faults[0].said) is kind
    assert parse(to_yaml(scenario), Path("x.yaml")) == scenario
    jsonschema.validate(YAML(typ="safe", pure=True).load(text(kind.example)), SCHEMA)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("{kil: W}", "5:6 faults[0].kil: unknown key; did you mean kill?"),
        ("{late_start: {node: sweep-worker, by: 1s, bye: 1s}}", "bye: unknown key; did you"),
        ("{when: {after: 1s}}", "expected a key that names the fault, such as kill"),
        ("{restart: W, when: {after: 1s}, until: {after: 1s}}", "restart says itself how long"),
        ("{kill: W, raise: {rank: 1}}", "expected one fault, not kill and raise"),
        ("{kill: {node: dummy-api}, when: {after: 1s}}", "expected a node; dummy-api is none"),
        ("{kill: {node: sweep-worker-3}, when: {after: 1s}}", "there is no sweep-worker-3"),
        ("{kill: W}", "faults[0].kill: expected when beside it"),
        ("{kill: W, whn: {after: 1s}}", "5:34 faults[0].whn: unknown key; did you"),
        ("{kill: W, when: {after: 1s}, until: {after: 1s}}", "can't be undone"),
        ("{raise: {rank: 2}, when: {event: train.step}}", "there is no rank 2 among 2 ranks"),
        ("{raise: {rank: 1, exception: KeyErorr}, when: {after: 1s}}", "did you mean KeyError?"),
        ("{signal: {number: KILL}, when: {after: 1s}}", "expected either rank or rollout"),
        ("{signal: {rank: 1, number: KIL}, when: {after: 1s}}", "did you mean KILL?"),
        ("{late_start: {node: sweep-worker, by: 1s}, when: {after: 1s}}", "has no trigger"),
        (
            "{partition: {between: [sweep-worker, sweep-worker]}, when: {after: 1s}}",
            "expected two hosts that are not the same",
        ),
        (
            "{partition: {between: [dummy-api, sweep-worker-7]}, when: {after: 1s}}",
            "between[1]: there is no sweep-worker-7 among 2 nodes",
        ),
        (
            "{delay: {between: [sweep-master, dummy-api], by: 1s, jitter: 2s}, when: {after: 1s}}",
            "expected a jitter of at most by",
        ),
        (
            "{no_name: {name: dummy-api, on: dummy-api}, when: {after: 1s}}",
            "expected a node; dummy-api is none",
        ),
        ("{port_taken: W, when: {after: 1s}}", "expected an event that has a port"),
        ("{api: {route: GET /whoami}}", "expected status, delay, drop or broken_json"),
        ("{api: {route: GET /whoamy, drop: true}}", "did you mean GET /whoami?"),
        ("{corrupt: {file: ../x}, when: {event: run.named}}", "expected a file's name, or a path"),
        ("{corrupt: {file: x}, when: {after: 1s}}", "expected an event of a trial, such as"),
        ("{kill: W, when: {event: train.stpe}}", "did you mean train.step?"),
        ("{kill: W, when: {event: x.y}}", "faults[0].when.event: nobody emits it"),
        ("{kill: W, when: {event: train.step, rank: 7}}", "there is no rank 7"),
        ("{kill: W, when: {event: run.named, trial: 9}}", "there are 2 runs at most"),
        ("{kill: W, when: {log: '('}}", "expected a regular expression"),
        ("{kill: W, when: {log: x, on: sweep-worker-5}}", "no sweep-worker-5 among"),
        ("{kill: W, when: {call: 2}}", "faults[0].when.call: expected route beside"),
        ("{kill: W, when: {rank: 2, after: 1s}}", "with event only"),
        ("{kill: W, when: {event: run.named, call: 2}}", "either event or call"),
        ("{kill: W, when: {started: kill}}", "no fault before this one is called"),
        ("{kill: W, when: {}}", "expected one of event, log, call, started"),
        ("{overrides: {rank: 1, trial: 1, values: {}}}", "faults[0].overrides.values"),
        ("{clock: {rank: 1, by: later}, when: {after: 1s}}", "a duration, also with a minus"),
        ("{clock: {rank: 1, by: 0s}, when: {after: 1s}}", "expected at least 100ms, ahead or"),
        ("{clock: {rank: 1, by: -400d}, when: {after: 1s}}", "faults[0].clock.by"),
        ("{clock: {rank: 2, by: 1h}, when: {after: 1s}}", "there is no rank 2 among 2 ranks"),
    ],
)  # fmt: skip
def test_what_can_never_be_is_refused_at_its_place(fault: str, said: str) -> None:
    assert said in refusal(fault)


@pytest.mark.parametrize(
    ("fault", "workload", "said"),
    [
        ("{raise: {rank: 1}, when: {after: 1s}}", "{run: x}", "that workload.run starts itself"),
        ("{signal: {rank: 0, number: 9}, when: {after: 1s}}",
         "{trainer: {command: x, launcher: own, score: {source: none}}}", "launcher: own starts"),
        ("{corrupt: {file: x}, when: {event: own.event}}", "{run: x}", "has no trials"),
        ("{overrides: {rank: 1, trial: 1, values: {a: 1}}}",
         "{trainer: {command: x, ranks_per_node: 2, score: {source: none}}}", "the same command"),
        ("{overrides: {rank: 1, trial: 1, values: {a: 1}}}",
         "{trainer: {command: 'x {overrides_file}', overrides_style: file}}", "from one file"),
        ("{kill: W, when: {event: optimizer.step}}", "{run: x}", "nothing can be"),
    ],
)  # fmt: skip
def test_what_runs_on_the_nodes_limits_what_can_be(fault: str, workload: str, said: str) -> None:
    assert said in refusal(fault, more=f"workload: {workload}")


def test_names_are_those_given_or_the_kinds() -> None:
    scenario = read(KILL, KILL, "{name: mine, kill: {node: sweep-worker}, when: {healed: kill}}")

    assert names_of(scenario.faults) == ["kill", "kill-2", "mine"]
    assert "mine is also the name of faults[0]" in refusal(
        "{name: mine, kill: {node: sweep-worker}, when: {after: 1s}}",
        "{name: mine, kill: {node: sweep-worker}, when: {after: 1s}}",
    )


def test_a_matrix_goes_over_faults() -> None:
    matrix = f"version: 1\nname: x\nmatrix:\n  faults: [[], [{KILL}]]\n"
    none, one = parse_file(matrix, Path("x.yaml")).scenarios

    assert (len(none.faults), len(one.faults)) == (0, 1)


def test_only_ranks_that_are_struck_have_something_put_into_them() -> None:
    step = "{kill: {node: sweep-worker}, when: {event: optimizer.step, rank: 0, step: 2}}"

    assert (
        injected_ranks(read(KILL, "{signal: {rank: 1, number: 9}, when: {after: 1s}}").faults) == ()
    )
    assert injected_ranks(read("{sleep: {rank: 1}, when: {after: 1s}}", step).faults) == (0, 1)
    everywhere = read(step.replace("rank: 0, ", "")).faults
    assert {0, 1, 511} <= set(injected_ranks(everywhere))


def test_the_documents_examples_are_scenarios() -> None:
    for block in re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL):
        parse(block, DOCS_FILE)


def test_the_documents_triggers_are_triggers() -> None:
    rows = re.findall(r"^\| (`\{.*?\}`(?:, `\{.*?\}`)*) \|", DOCS, re.MULTILINE)
    said = [each for row in rows for each in re.findall(r"`(\{.*?\})`", row)]

    assert len(said) == 8
    for trigger in said:
        named = trigger.replace("NAME", "first")
        first = "{name: first, kill: W, when: {after: 1s}}"
        assert len(read(first, f"{{kill: W, when: {named}}}").faults) == 2


def test_the_schema_says_what_each_fault_is() -> None:
    items = json.dumps(SCHEMA["properties"]["faults"])

    for kind in CATALOGUE.values():
        assert f"{kind.__name__.removesuffix('Fault')}FaultItem" in items


@pytest.mark.parametrize("fault", ["{out_of_memory: {rank: 1}, when: {after: 1s}}", "{cpu: W}"])
def test_what_takes_a_nodes_resources_needs_containers(fault: str) -> None:
    scenario = read(KILL, fault)
    (key,) = {item.key for item in scenario.faults} - {"kill"}

    said = f"the engine process lacks containers (faults[1].{key})"
    assert lacking(scenario, ProcessEngine()) == said
    assert lacking(scenario, ComposeEngine()) == lacking(read(KILL), ProcessEngine()) == ""


def test_a_full_disk_needs_somebody_beside_the_node() -> None:
    full = read("{disk_full: {node: sweep-worker}, when: {after: 1s}, until: {after: 2s}}")

    said = "the engine process lacks side containers (faults[0].disk_full)"
    assert (lacking(full, ProcessEngine()), lacking(full, ComposeEngine())) == (said, "")
    wrong = refusal("{disk_full: {node: sweep-worker-9}, when: {after: 1s}}")
    assert "there is no sweep-worker-9" in wrong
