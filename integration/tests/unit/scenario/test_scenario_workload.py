"""What may run, and be answered, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.faults import CATALOGUE
from metta_sandbox.scenario.loading import parse
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.needs import lacking, needs
from metta_sandbox.scenario.provision import ImageBuild, Mount
from metta_sandbox.scenario.units import format_size, parse_size
from metta_sandbox.scenario.workload import variable_of
from metta_sandbox.stack.engines.compose.engine import ComposeEngine
from metta_sandbox.stack.engines.process.engine import ProcessEngine

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
        (
            "workload: {requirements: [einops, 'a b'], run: a}",
            "[1]: expected a requirement such as",
        ),
        ("workload: {requirements: 3, run: a}", "the path of a requirements file, or a list"),
        ("workload: {requirements: [a]}", "the bundled trainer needs none"),
        ("workload: {requirements: [a], image: i, run: a}", "brings its own packages"),
        ("workload: {image: i, build: .}", "expected either image or build"),
        ("workload: {image: ' i'}", "expected text that matches"),
        ("workload: {build: 3}", "workload.build: expected a mapping, got 3"),
        ("workload: {build: {contxt: .}}", "did you mean context?"),
        ("workload: {mounts: [{source: a, target: data}]}", "expected a whole path"),
        ("workload: {mounts: [{source: a, target: /data/../etc}]}", "expected a whole path"),
        ("workload: {mounts: [{source: a, target: /}]}", "expected another place"),
        ("workload: {mounts: [{source: a, target: /mnt}]}", "need their own /mnt/s3/train_dir"),
        ("workload: {mounts: [{source: a, target: /workspace/a}]}", "is the sandbox's own"),
        ("workload: {mounts: [{source: a, target: /home/metta/.ssh}]}", "need their own"),
        (
            "workload: {mounts: [{source: a, target: /d}, {source: b, target: /d/}]}",
            "mounts[1].target: /d is given twice",
        ),
        ("workload: {shared_memory: 2 gallons}", "expected a size such as 512MB or 2GiB"),
        ("workload: {shared_memory: 1k}", "expected 1048576 or more"),
        ("sweep: {budget: 3m}", "expected a number such as 20000, 500k or 1.5M"),
        ("sweep: {budget: -1k}", "expected a number such as"),
        ("sweep: {retries: -1}", "expected 0 or more"),
        ("workload: {run: a}\nsweep: {retries: 1}", "sweep.retries: nobody suggests anything"),
        ("workload: {run: a}\nsweep: {resume: latest}", "sweep.resume: nobody suggests anything"),
        ("services: {api: [{route: 'GET /sweeps/{name}'}]}", "status, body, delay or drop"),
        (
            "services: {api: [{route: 'POST /sweeps/{name}/run/next', drop: true}]}",
            "did you mean POST /sweeps/{name}/runs/next?",
        ),
        ("services: {api: [{route: 'GET /health', status: 503}]}", "can't be scripted"),
        ("services: {api: [{route: 'GET /who', drop: true}]}", "has no route 'GET /who'; did you"),
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


def test_what_is_brought_along_is_read_as_people_write_it() -> None:
    scenario = parse(
        "version: 1\nname: x\nsweep: {budget: 1.5M, max_cost: 20}\nworkload:\n"
        "  {build: mine, mounts: [{source: data, target: /data}], shared_memory: 64MB, run: a}\n",
        Path("x.yaml"),
    )

    assert scenario.workload.build == ImageBuild(context="mine", dockerfile="Dockerfile")
    assert scenario.workload.mounts == (Mount(source="data", target="/data", read_only=True),)
    assert scenario.workload.shared_memory == 64_000_000
    assert (scenario.sweep.budget, scenario.sweep.max_cost) == (1_500_000, 20)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), (4096, 4096), ("1.5k", 1500), ("2GiB", 2**31), ("3 mi", 3 * 2**20), ("1TB", 10**12)],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1 kk", True, None, 1.5, "1e3", "9" * 400])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(text)


def test_needs_are_inferred() -> None:
    def read(text: str) -> Scenario:
        return parse(f"version: 1\nname: x\n{text}", Path("x.yaml"))

    plain, image = read(""), read("hardware: gpu\nworkload: {image: 'my/x:1'}")
    mounted = read("workload: {build: ., mounts: [{source: a, target: /a}]}")

    assert needs(plain) == ()
    assert list(map(str, needs(image))) == ["containers (workload.image)", "GPUs (hardware)"]
    assert lacking(mounted, ProcessEngine()) == (
        "the engine process lacks containers (workload.build), containers (workload.mounts)"
    )
    cut = CATALOGUE["partition"].example
    struck = read(f"faults: [{cut}]")
    assert lacking(struck, ProcessEngine()).endswith("lacks side containers (faults[0].partition)")
    assert lacking(struck, ComposeEngine()) == ""
    assert lacking(mounted, ComposeEngine()) == lacking(plain, ProcessEngine()) == ""


def test_a_key_becomes_a_variable() -> None:
    assert variable_of("trainer.learning-rate") == "TRAINER_LEARNING_RATE"


def test_another_mistake_makes_no_stranger_of_ones_own_keys() -> None:
    text = "nodes: a\nworkload: {trainer: {command: t}}\nsweep: {parameters: {lr: {values: [1]}}}"
    with pytest.raises(InputError) as caught:
        read(text)
    assert len(caught.value.problems) == 1


def test_a_misspelt_command_makes_no_stranger_of_ones_own_keys() -> None:
    text = """workload: {trainer: {comand: t, launcher: own, overrides: {lr: 1}}}
sweep: {parameters: {wd: {values: [1]}}}"""
    with pytest.raises(InputError) as caught:
        read(text)
    assert [problem.message for problem in caught.value.problems] == [
        "workload.trainer.comand: unknown key; did you mean command?"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('description: "hand\\.off"', "3:19: not YAML: .* use single quotes"),
        ('description: "x\ntags: []', "3:14: not YAML: the quote that opens here is never closed"),
        ("sweep:\n    trials: 2\n  retries: 1", "5:3: .* indented as its neighbours are"),
        ("sweep: {trials: 2\nnodes: 2", "a bracket not closed before here"),
        ("description: this: that", "3:18: .* has `: ` in it is quoted"),
        (
            "workload: {trainer: {command: t, score: {source: log, pattern: 'loss=\\d'}}}",
            r"3:64: workload.trainer.score.pattern: .* with a group, .*, got 'loss=\\d'",
        ),
        (
            "services: {api: [{route: GET /whoami, status: 503, call: 0}]}",
            "1 or more, got 0\n1 prob",
        ),
        (
            "steady_state: [{api: {route: 'GET /sweeps/{n}'}}]",
            "without {…}, such as GET /sweeps/mi",
        ),
    ],
)
def test_a_mistake_is_told_with_what_mends_it(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read(text)


def test_a_version_in_quotes_is_told_apart_from_a_wrong_one() -> None:
    with pytest.raises(InputError, match="version: expected the number 1, without quotes, got '1'"):
        parse("version: '1'\nname: x\n", Path("x.yaml"))
