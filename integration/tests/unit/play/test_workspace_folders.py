"""The folder that a scenario brings along, as its nodes get it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.play.host_inputs import provision, require_folders
from metta_sandbox.play.workspace import place, working_folder
from metta_sandbox.scenario.loading import Loaded, parse_file
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.stack.engines.base import StackPlan

HOSTS = ("sweep-master", "sweep-worker")


def scenario(**workload: Any) -> Scenario:
    return Scenario.model_validate({"version": 1, "name": "x", "workload": workload})


@pytest.fixture
def plan(tmp_path: Path) -> StackPlan:
    plan = StackPlan("run", "x", HOSTS, tmp_path / "artifacts")
    plan.run_folder.mkdir(parents=True)
    return plan


@pytest.fixture
def file(tmp_path: Path) -> Path:
    for name in ("mine/train.py", "mine/.git/config", "mine/lib/.venv/big", "mine/lib/util.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "x.yaml"


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_all_nodes_share_one_copy_without_what_belongs_to_this_machine(
    plan: StackPlan, file: Path
) -> None:
    one = scenario(folder="mine")
    place(Loaded(one, file), plan)

    assert files(plan.run_folder) == {"workspace/train.py", "workspace/lib/util.py"}
    assert (
        working_folder(one, plan, "/mnt/s3/train_dir", "sweep-worker")
        == "/mnt/s3/train_dir/workspace"
    )


def test_what_wandb_wrote_is_left_behind_and_code_of_that_name_is_not(
    plan: StackPlan, file: Path
) -> None:
    for name in ("wandb/offline-run-1/run-1.wandb", "conf/wandb/on.yaml", "lib/wandb/log.py"):
        path = file.parent / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    place(Loaded(scenario(folder="mine"), file), plan)

    assert {name for name in files(plan.run_folder) if "wandb" in name} == {
        "workspace/conf/wandb/on.yaml",
        "workspace/lib/wandb/log.py",
    }


def test_what_is_no_file_is_left_behind(plan: StackPlan, file: Path) -> None:
    os.mkfifo(file.parent / "mine" / "pipe")
    place(Loaded(scenario(folder="mine"), file), plan)

    assert sorted(path.name for path in (plan.run_folder / "workspace").iterdir()) == [
        "lib",
        "train.py",
    ]


def test_artifacts_that_lie_in_the_folder_under_any_name_are_left_behind(
    tmp_path: Path, file: Path
) -> None:
    plan = StackPlan("run", "x", HOSTS, tmp_path / "mine" / "results" / "run" / "x")
    plan.run_folder.mkdir(parents=True)
    (tmp_path / "mine" / "lib" / "results").mkdir()
    (tmp_path / "mine" / "lib" / "results" / "kept.csv").touch()
    place(Loaded(scenario(folder="mine"), file), plan)

    copied = files(plan.run_folder)
    assert copied == {
        "workspace/train.py",
        "workspace/lib/util.py",
        "workspace/lib/results/kept.csv",
    }


def test_the_copy_of_a_folder_that_is_read_only_can_be_written_to(
    plan: StackPlan, file: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    for path in (mine / "lib" / "util.py", mine / "lib", mine):
        path.chmod(path.stat().st_mode & ~0o222)
    place(Loaded(scenario(folder="mine"), file), plan)
    mine.chmod(0o755)

    copy = plan.run_folder / "workspace"
    for path in (copy, copy / "lib", copy / "lib" / "util.py"):
        assert path.stat().st_mode & 0o200, path


def test_each_node_has_its_own_copy(plan: StackPlan, file: Path) -> None:
    one = scenario(folder="mine", working_folder="private")
    place(Loaded(one, file), plan)

    for host in HOSTS:
        assert (
            working_folder(one, plan, "/mnt/s3/train_dir", host)
            == f"/mnt/s3/train_dir/workspace-{host}"
        )
        assert "train.py" in files(plan.run_folder / f"workspace-{host}")


def test_without_a_folder_nodes_work_where_they_did(plan: StackPlan, file: Path) -> None:
    place(Loaded(scenario(), file), plan)

    assert list(plan.run_folder.iterdir()) == []
    assert (
        working_folder(scenario(), plan, "/mnt/s3/train_dir", "sweep-worker") == "/mnt/s3/train_dir"
    )


def test_a_live_working_copy_goes_over_it(plan: StackPlan, file: Path) -> None:
    plan = replace(plan, source=file.parent)

    assert working_folder(scenario(folder="mine"), plan, "/workspace", "a") == "/workspace"


def test_every_missing_folder_is_told(file: Path) -> None:
    require_folders([Loaded(scenario(folder="mine"), file), Loaded(scenario(), file)])
    with pytest.raises(InputError) as caught:
        require_folders([Loaded(scenario(folder=name), file) for name in ("gone", "lost")])
    assert len(caught.value.problems) == 2


def test_everything_that_is_missing_or_wrong_is_told_at_once(file: Path, tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("einops\n-e .\n")
    (tmp_path / "image").mkdir()
    mounts = [{"source": "gone", "target": "/a"}, {"source": "mine", "target": "/b"}]
    with pytest.raises(InputError) as caught:
        require_folders(
            [
                Loaded(scenario(requirements="none.txt", run="x", mounts=mounts), file),
                Loaded(scenario(requirements="r.txt", run="x"), file),
                Loaded(scenario(build="image"), file),
            ]
        )
    assert [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems] == [
        f"x.yaml: workload.requirements: {tmp_path}/none.txt is no file",
        f"x.yaml: workload.mounts[0].source: {tmp_path}/gone is not there",
        "r.txt:2:1: a package of yours goes into workload.folder, not among requirements",
        f"x.yaml: workload.build: {tmp_path}/image/Dockerfile is no file",
    ]


@pytest.mark.parametrize("path", ["\0", "x" * 5000, "~nobody-of-this-name/x", "a/../../../.."])
def test_what_is_no_path_is_missing(file: Path, path: str) -> None:
    workload = scenario(
        folder=path, requirements=path, run="x", mounts=[{"source": path, "target": "/a"}]
    )
    resumed = Scenario.model_validate({"version": 1, "name": "x", "sweep": {"resume": path}})
    for one in (workload, resumed, scenario(build=path)):
        with pytest.raises(InputError):
            require_folders([Loaded(one, file)])


def test_what_is_brought_along_is_found_beside_the_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "r.txt").write_text("einops\n")
    one = scenario(requirements="r.txt", run="x", shared_memory="1MiB")
    two = scenario(
        build={"context": "mine", "args": {"A": 1}, "target": "t"},
        mounts=[{"source": "~/data", "target": "/data"}],
    )

    found = provision(Loaded(one, file))
    assert [(one.text, one.file, one.line) for one in found.requirements] == [
        ("einops", tmp_path / "r.txt", 1)
    ]
    assert (found.bundled_rollout, found.shared_memory) == (False, 2**20)
    found = provision(Loaded(two, file))
    assert found.bundled_rollout
    assert found.build
    assert (found.build.context, found.build.args) == (tmp_path / "mine", (("A", "1"),))
    assert found.mounts[0].source == Path("/home/me/data")
    listed = provision(Loaded(scenario(requirements=["a", "b>=1"], run="x"), file)).requirements
    assert [(one.text, one.file, one.line) for one in listed] == [
        ("a", file, 0),
        ("b>=1", file, 0),
    ]


def test_what_is_missing_is_told_at_its_line(file: Path, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "version: 1\nname: base\nworkload:\n  run: x\n  requirements:\n    - einops\n"
        "  mounts:\n    - {source: gone, target: /a}\n"
    )
    file.write_text("extends: base.yaml\nname: x\nworkload:\n  folder: lost\n")
    one = parse_file(file.read_text(), file).loaded[0]
    with pytest.raises(InputError) as caught:
        require_folders([one])
    assert [str(problem).partition(" ")[0] for problem in caught.value.problems] == [
        f"{file}:4:11:",
        f"{tmp_path}/base.yaml:8:16:",
    ]
    (required,) = provision(one).requirements
    assert (required.file, required.line, required.column) == (tmp_path / "base.yaml", 6, 7)
