"""A scenario that names a task says what the task does."""

from __future__ import annotations

from pathlib import Path

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.play.host_inputs import require_folders
from metta_sandbox.play.launch_task import Asked, is_task, read_buckets, read_env, read_task
from metta_sandbox.scenario.loading import Loaded, parse, to_yaml
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.needs import needs

TASK = """\
name: train
num_nodes: 3
workdir: code
resources: {accelerators: A100:2, cpus: 4}
envs: {LR: 1}
secrets: {INLINE: very-secret, ASKED: null}
file_mounts: {~/data: data, /out: {name: b, store: s3}}
setup: pip install x
run: echo hi
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("code", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "task.yaml").write_text(TASK)
    return tmp_path


def read(folder: Path, workload: str, more: str = "") -> Scenario:
    text = f"version: 1\nname: one\n{more}workload: {workload}\n"
    return parse(text, folder / "scenario.yaml")


def test_a_task_becomes_a_scenario(folder: Path) -> None:
    scenario = read(folder, "{task: task.yaml}")
    task = scenario.workload.skypilot

    assert task is not None
    assert scenario.nodes == 3
    assert (scenario.workload.setup, scenario.workload.run) == ("pip install x", "echo hi")
    assert scenario.workload.working_folder == "private"
    assert task.workdir == str(folder / "code")
    assert [(one.target, one.how) for one in task.mounts] == [("~/data", "own"), ("/out", "shared")]
    assert (task.gpus_per_node, task.installs, task.cluster) == (2, True, "one")
    assert scenario.secret_env == {"INLINE": "very-secret"}
    assert set(scenario.secrets) == {"ASKED"}
    assert [str(need) for need in needs(scenario)] == ["containers (file_mounts./out)"]


def test_no_secret_is_written_and_what_is_written_is_read_again(folder: Path) -> None:
    scenario = read(folder, "{task: task.yaml}")
    text = to_yaml(scenario)

    assert "very-secret" not in text
    assert parse(to_yaml(scenario.for_nodes()), folder / "s.yaml").workload.skypilot == (
        scenario.workload.skypilot
    )


def test_a_scenario_goes_over_its_task(folder: Path) -> None:
    more = "nodes: 2\nsecrets: {INLINE: {env: OTHER}}\n"
    scenario = read(folder, "{task: {file: task.yaml, bare: true}, env: {LR: 2, NEW: 3}}", more)

    assert scenario.nodes == 2
    assert scenario.workload.env == {"LR": "2", "NEW": "3"}
    assert scenario.secrets["INLINE"].env == "OTHER"
    assert scenario.workload.skypilot is not None
    assert scenario.workload.skypilot.bare


def test_what_is_ignored_is_a_caution(folder: Path) -> None:
    cautions = read(folder, "{task: task.yaml}").cautions

    assert any(text.startswith("workload.task: ignored: resources.cpus (") for text in cautions)
    assert any("2 A100 on each node are pretended" in text for text in cautions)
    assert any("s3://b at /out is an empty folder" in text for text in cautions)


def test_with_gpus_none_is_pretended(folder: Path) -> None:
    cautions = read(folder, "{task: task.yaml}", "hardware: gpu\n").cautions

    assert not any("pretended" in text for text in cautions)


def test_a_folder_takes_a_buckets_place(folder: Path) -> None:
    for buckets in ("{'s3://b': data}", "{b: data}"):
        scenario = read(folder, f"{{task: {{file: task.yaml, buckets: {buckets}}}}}")
        assert scenario.workload.skypilot is not None
        mount = scenario.workload.skypilot.mounts[1]
        assert (mount.source, mount.how) == (str(folder / "data"), "live")


@pytest.mark.parametrize(
    ("mounts", "key", "mend"),
    [
        ("/out: {name: b, store: s3}", "s3://b", ""),
        ("/out: s3://b/below", "b", ""),
        ("/out: {name: b}", "gs://b", ""),
        ("/out: s3://datasets/below", "s3://dataset", "did you mean s3://datasets?"),
        ("/out: {name: datasets}", "dataset", "did you mean datasets?"),
        ("/out: s3://b", "gs://b", "did you mean s3://b?"),
        ("{/out: s3://one, /in: gs://two}", "far", "expected one of s3://one, gs://two"),
        ("/out: data", "s3://b", "none uses one"),
    ],
)
def test_a_bucket_that_no_mount_shows_is_told(
    folder: Path, mounts: str, key: str, mend: str
) -> None:
    (folder / "task.yaml").write_text(f"run: x\nfile_mounts:\n  {mounts}\n")
    scenario = read(folder, f"{{task: {{file: task.yaml, buckets: {{'{key}': data}}}}}}")

    told = [text for text in scenario.cautions if "--bucket" in text and "no mount" in text]
    assert told == ([f"workload.task: --bucket {key}: no mount uses it; {mend}"] if mend else [])


def test_a_bucket_of_another_task_of_the_file_is_used(folder: Path) -> None:
    task = "run: x\nfile_mounts: {{/out: s3://{}}}\n"
    (folder / "task.yaml").write_text(f"{task.format('a')}---\n{task.format('b')}")
    scenario = read(folder, "{task: {file: task.yaml, buckets: {'s3://b': data}}}")

    assert not any("no mount uses" in text for text in scenario.cautions)


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        ("{task: task.yaml, run: x}", "workload.run: the task says this itself"),
        ("{task: task.yaml, folder: x}", "workload.folder: the task says this itself"),
        ("{task: {file: task.yaml, number: 2}}", "workload.task.number: the file has 1 of them"),
        ("{task: {fil: task.yaml}}", "workload.task.fil: unknown key; did you mean file?"),
    ],
)
def test_nonsense_beside_a_task_is_refused(folder: Path, workload: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read(folder, workload)


def test_a_wrong_task_is_refused_at_its_own_place(folder: Path) -> None:
    (folder / "task.yaml").write_text("run: x\nnum_nodes: two\n")

    with pytest.raises(InputError) as caught:
        read(folder, "{task: task.yaml}")
    assert [str(one) for one in caught.value.problems] == [
        f"{folder / 'task.yaml'}:2:1: num_nodes: expected a whole number"
    ]


def test_what_a_file_of_others_says_is_not_shown(folder: Path) -> None:
    (folder / "scenarios").mkdir()
    (folder / "task.yaml").write_text("password: x\n")

    with pytest.raises(InputError) as caught:
        read(folder / "scenarios", "{task: ../task.yaml}")
    assert "password" not in str(caught.value)
    assert "is not shown" in str(caught.value)


def test_a_task_that_is_not_there_is_told_where_it_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match=r"workload.task: .*nothing.yaml: No such file"):
        read(folder, "{task: nothing.yaml}")


def test_what_a_task_names_must_be_there(folder: Path) -> None:
    (folder / "code").rmdir()
    scenario = read(folder, "{task: task.yaml}")

    with pytest.raises(InputError, match=r"code is no folder \(workdir\)"):
        require_folders([Loaded(scenario, folder / "scenario.yaml")])


def test_a_launch_reads_paths_from_where_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (scenario,) = read_task(["task.yaml"], Asked(nodes=4, env={"LR": "7"}, secrets=("ASKED",)))

    assert scenario.nodes == 4
    assert scenario.name == "train"
    assert scenario.workload.env["LR"] == "7"
    assert scenario.workload.skypilot is not None
    assert scenario.workload.skypilot.workdir == str(folder / "code")


def test_the_words_of_a_launch(folder: Path) -> None:
    assert is_task(["a.yaml"])
    assert not is_task(["sweep", "run=a"])
    assert read_env(["A=1", "B"], {"B": "2"}) == {"A": "1", "B": "2"}
    assert read_buckets([f"s3://b={folder}"]) == {"s3://b": str(folder)}
    with pytest.raises(InputError, match="--env C: expected NAME=VALUE"):
        read_env(["C"], {})
    with pytest.raises(InputError, match="--bucket b=/nowhere"):
        read_buckets(["b=/nowhere"])
    with pytest.raises(InputError, match="more: a task's file has no more words"):
        list(read_task(["task.yaml", "more"], Asked()))


@pytest.mark.parametrize("target", ["~/../../x", "~/../x", "a/../../x", "/data/../etc/x"])
def test_no_mount_leads_out_of_where_it_is_put(folder: Path, target: str) -> None:
    (folder / "task.yaml").write_text(TASK.replace("~/data: data", f"{target}: data"))
    with pytest.raises(InputError) as caught:
        read(folder, "{task: task.yaml}")
    assert "expected the place without `..`" in str(caught.value.problems[0])
