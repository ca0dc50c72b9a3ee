"""Reading a task: what it says is typed, and nonsense is refused at its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.skypilot.task import Mounted, Overrides, Task, notes, parse

PATH = Path("task.yaml")


def read(text: str, **envs: str) -> Task:
    (task,) = parse(text, PATH, Overrides(envs)).tasks
    return task


def refusals(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        parse(text, PATH)
    return [str(problem) for problem in caught.value.problems]


def test_a_whole_task() -> None:
    task = read("""
name: train
num_nodes: 4
workdir: .
resources: {infra: aws/us-east-1/us-east-1a, accelerators: H100:8, image_id: 'docker:my/image:1'}
envs: {LR: 0.1, DEBUG: yes, EMPTY: ''}
secrets: {TOKEN: null, INLINE: value}
setup: pip install -r requirements.txt
run: torchrun train.py
""")

    assert (task.name, task.num_nodes, task.workdir) == ("train", 4, ".")
    assert (task.gpus, task.setup_gpus, task.accelerator) == (8, 8, "H100")
    assert task.image == "my/image:1"
    # As Python writes them, and YAML 1.1 reads them: so does SkyPilot.
    assert task.envs == {"LR": "0.1", "DEBUG": "True", "EMPTY": ""}
    assert task.secrets == {"INLINE": "value"}
    assert task.asked == ("TOKEN",)
    assert "value" not in repr(task)
    assert (task.infra.cloud, task.infra.region, task.infra.zone) == (
        "aws", "us-east-1", "us-east-1a",
    )  # fmt: skip


def test_a_working_folder_that_is_a_repository() -> None:
    assert read("workdir: {url: 'https://x/y.git', ref: v1.2}").repository == (
        "https://x/y.git",
        "v1.2",
    )
    assert read("workdir: {url: ../y}").repository == ("../y", None)
    (problem,) = refusals("workdir: {url: --upload-pack=x}")
    assert "workdir.url: expected the address of a git repository" in problem
    (problem,) = refusals("workdir: {url: x, ref: --force}")
    assert "workdir.ref: expected a branch, a tag or a commit" in problem


@pytest.mark.parametrize(
    ("said", "name", "count"),
    [
        ("A100", "A100", 1),
        ("A100:0.5", "A100", 1),
        ("{A100: 4}", "A100", 4),
        ("{A100:4, V100:8}", "A100", 4),
        ("[L4:2, T4:1]", "L4", 2),
        ("{T4, L4}", "T4", 1),
        ("80GB+", "80GB+", 1),
        ("nvidia:80GB+:2", "nvidia:80GB+", 2),
    ],
)
def test_the_first_candidate_says_how_many_gpus(said: str, name: str, count: int) -> None:
    task = read(f"resources: {{accelerators: {said}}}\nrun: x")

    assert (task.accelerator, task.gpus) == (name, count)


def test_accelerators_of_another_kind_are_no_gpus() -> None:
    task = read("resources: {accelerators: tpu-v2-8}\nrun: x")

    assert (task.gpus, task.setup_gpus) == (0, 1)


def test_the_first_of_several_resources_counts() -> None:
    task = read(
        "resources: {cpus: 4, ordered: [{accelerators: L4:2}, {accelerators: T4:4}]}\nrun: x"
    )

    assert (task.accelerator, task.gpus) == ("L4", 2)


def test_mounts_of_every_kind() -> None:
    task = read("""
envs: {SIZE: 13b, BUCKET: b}
file_mounts:
  ~/model-${SIZE}: ./model-$SIZE
  /data: s3://public/data
  /out: {name: "${BUCKET}", store: GCS, mode: MOUNT}
  /copy: {source: s3://c, mode: COPY}
  /up: {name: up, source: ./local}
volumes: {/vol: my-volume}
run: x
""")

    assert task.mounts == (
        Mounted("~/model-13b", source="./model-13b"),
        Mounted("/data", bucket="s3://public/data"),
        Mounted("/out", bucket="gcs://b", shared=True),
        Mounted("/copy", bucket="s3://c"),
        Mounted("/up", source="./local", bucket="bucket://up", shared=True),
        Mounted("/vol", shared=True),
    )


def test_several_tasks_and_what_stands_before_them() -> None:
    pipeline = parse("name: p\n---\nname: a\nrun: x\n---\nname: b\nrun: y\n", PATH)
    group = parse("name: g\nexecution: parallel\n---\nname: a\nrun: x\n", PATH)
    alone = parse("name: one\nrun: x\n", PATH)

    assert (pipeline.name, [one.name for one in pipeline.tasks]) == ("p", ["a", "b"])
    assert (group.name, group.parallel, len(group.tasks)) == ("g", True, 1)
    assert (alone.name, len(alone.tasks)) == ("one", 1)


def test_what_is_ignored_is_told_once_for_each_reason() -> None:
    told = list(notes(read("resources: {cpus: 4, memory: 8, ports: 80}\nrun: x")))

    assert told == [
        "ignored: resources.cpus, resources.memory (no machine is rented: nodes are on this one)",
        "ignored: resources.ports (nothing is published: nodes reach each other on every port)",
    ]


def test_variables_go_over_a_tasks_own_and_give_those_that_it_lacks() -> None:
    task = read("envs: {A: 1, B: null}\nrun: x", A="2", B="3", C="4")

    assert task.envs == {"A": "2", "B": "3", "C": "4"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("runn: x", "task.yaml:1:1: runn: unknown key; did you mean run?"),
        (
            "run: x\nresources:\n  acelerators: A100",
            "task.yaml:3:3: resources.acelerators: unknown key; did you mean accelerators?",
        ),
        (
            "run: x\nresources:\n  any_of:\n    - {infr: aws}",
            "task.yaml:4:8: resources.any_of[0].infr: unknown key; did you mean infra?",
        ),
        ("num_nodes: two", "task.yaml:1:1: num_nodes: expected a whole number"),
        ("num_nodes: 0\nrun: x", "task.yaml:1:1: num_nodes: expected 1 or more"),
        ("run: [a, b]", "task.yaml:1:1: run: expected text"),
        (
            "envs: {A: null}\nrun: x",
            'task.yaml:1:8: envs.A: has no value: --env A=VALUE, or "" for none',
        ),
        (
            "envs: {1A: 2}\nrun: x",
            "task.yaml:1:8: envs.1A: expected a variable's name: letters, digits and _",
        ),
        (
            "name: a b\nrun: x",
            "task.yaml:1:1: name: expected letters, digits and single . _ - between them",
        ),
        (
            "resources: {accelerators: 'A100:x'}",
            "task.yaml:1:13: resources.accelerators: expected NAME or NAME:COUNT, got 'A100:x'",
        ),
        (
            "file_mounts: {/x: {name: b, mode: MOUNTED}}",
            "task.yaml:1:29: file_mounts./x.mode: expected MOUNT, COPY or MOUNT_CACHED",
        ),
        ("run: x\nrun: y", "task.yaml:2:1: run is given twice"),
        (
            "secrets: [HF_TOKEN]\nrun: x",
            "task.yaml:1:11: secrets[0]: expected secrets:NAME in a list",
        ),
        ("just text", "task.yaml:1:1: expected a mapping, as in `run: python train.py`"),
        ("", "task.yaml:1:1: no task: expected run, or setup"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_at_its_place(text: str, said: str) -> None:
    assert refusals(text) == [said]


def bomb(levels: int, line: str) -> str:
    """Build lines each of which names the one before ten times."""
    lines = [line.format(at=level, before=f"*a{level - 1}") for level in range(1, levels)]
    return "\n".join(["a0: &a0 {x: 1}", *lines, "run: x"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bomb(12, "a{at}: &a{at} [" + ", ".join(["{before}"] * 10) + "]"), "more than 3000 values"),
        (bomb(12, "a{at}: &a{at} {{<<: [" + ", ".join(["{before}"] * 10) + "]}}"), "more than"),
        ("envs: &a {b: *a}", "nested deeper than 40 levels"),
        ("run: " + "[" * 3000, "nested deeper than 40 levels"),
        ("run: " + "{a: " * 3000, "nested deeper than 40 levels"),
    ],
    ids=["aliases", "merged", "endless", "lists", "mappings"],
)
def test_what_grows_as_it_is_read_is_refused_at_once(text: str, said: str) -> None:
    (problem,) = refusals(text)

    assert said in problem


def test_what_is_no_yaml_is_refused() -> None:
    assert refusals("run: [x")[0].startswith("task.yaml:2:1: not YAML: ")


def test_secrets_by_reference() -> None:
    task = read(
        "secrets: ['secrets:HF_TOKEN', 'secrets:workspace.KEY']\nmanaged_secrets: [A]\nrun: x"
    )

    assert task.asked == ("HF_TOKEN", "KEY", "A")
