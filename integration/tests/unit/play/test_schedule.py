from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.play import schedule as module
from metta_sandbox.play.schedule import (
    Room,
    Schedule,
    dependencies,
    fitting_jobs,
    free_memory,
    memory_of,
    shared_nodes,
)
from metta_sandbox.scenario.loading import Loaded
from metta_sandbox.scenario.model import Scenario

GIB = 1 << 30


def scenario(name: str = "one", **keys: Any) -> Scenario:
    return Scenario.model_validate({"version": 1, "name": name, **keys})


def made(count: int, room: Room, after: dict[int, set[int]] | None = None) -> Schedule:
    return Schedule([GIB] * count, [(after or {}).get(each, set()) for each in range(count)], room)


def test_one_works_while_the_next_comes_up_and_no_more() -> None:
    schedule = made(3, Room(jobs=1, ahead=1))
    assert [schedule.next() for _ in range(3)] == [0, 1, None]
    schedule.ready(1)
    schedule.ready(0)
    # Both are ready; the first of the files goes first, and alone.
    assert [schedule.turn() for _ in range(2)] == [0, None]


def test_a_place_is_kept_for_one_before_that_still_comes_up() -> None:
    schedule = made(3, Room(jobs=2, ahead=1))
    assert [schedule.next() for _ in range(3)] == [0, 1, 2]
    schedule.ready(1)
    schedule.ready(2)
    assert [schedule.turn() for _ in range(2)] == [1, None]
    schedule.over(0)
    assert schedule.turn() == 2


def test_one_that_leaves_makes_room_to_work_and_to_come_up() -> None:
    schedule = made(3, Room(jobs=1, ahead=1))
    for index in (schedule.next(), schedule.next()):
        assert index is not None
        schedule.ready(index)
    schedule.turn()
    schedule.leaving(0)
    assert (schedule.turn(), schedule.next(), schedule.live) == (1, 2, 3)


def test_without_overlap_the_next_comes_up_when_one_is_gone() -> None:
    schedule = made(2, Room(jobs=1, ahead=0, overlapping=False))
    assert [schedule.next(), schedule.next()] == [0, None]
    schedule.ready(0)
    schedule.turn()
    schedule.leaving(0)
    assert schedule.next() is None
    schedule.over(0)
    assert (schedule.next(), schedule.live) == (1, 1)


def test_memory_bounds_how_many_there_are_but_one_always_may_be() -> None:
    schedule = made(3, Room(jobs=3, ahead=0, memory=GIB * 5 // 2))
    assert [schedule.next() for _ in range(3)] == [0, 1, None]
    schedule.leaving(0)
    assert schedule.next() is None
    schedule.over(0)
    assert schedule.next() == 2
    assert made(1, Room(memory=1)).next() == 0


def test_one_that_waits_for_another_is_overtaken_but_one_that_waits_for_memory_is_not() -> None:
    schedule = made(3, Room(jobs=3, ahead=0), {1: {0}})
    assert [schedule.next() for _ in range(3)] == [0, 2, None]
    schedule.over(0)
    assert schedule.next() == 1
    heavy = Schedule([GIB, 4 * GIB, GIB], [set()] * 3, Room(jobs=3, memory=3 * GIB))
    assert [heavy.next(), heavy.next()] == [0, None]


def test_who_compares_and_who_is_compared_keep_their_order(tmp_path: Path) -> None:
    same = {"expect": [{"same_as": {"scenario": "reference"}}]}
    files = [scenario("early", **same), scenario("reference"), scenario("late", **same)]
    found = dependencies([Loaded(each, tmp_path / "a.yaml") for each in files], tmp_path)
    # What `early` would see of a scenario after it must not depend on chance.
    assert found == [set(), {0}, {1}]


@pytest.mark.parametrize(("read_only", "waits"), [(True, set()), (False, {0})])
def test_a_folder_that_both_may_write_to_is_for_one_at_a_time(
    tmp_path: Path, read_only: bool, waits: set[int]
) -> None:
    mounts = [{"source": "data", "target": "/data", "read_only": read_only}]
    workload = {"run": "true", "mounts": mounts}
    pair = [scenario(name, workload=workload) for name in ("one", "two")]
    assert dependencies([Loaded(each, tmp_path / "a.yaml") for each in pair], tmp_path)[1] == waits


def test_what_may_resume_this_very_run_waits_for_all_before_it(tmp_path: Path) -> None:
    run = tmp_path / "artifacts" / "20260101"
    for folder in (run / "first", tmp_path / "earlier"):
        folder.mkdir(parents=True)
        (folder / "scenario.yaml").touch()
    (run.parent / "latest").symlink_to(run.name)
    files = [
        scenario("first"),
        scenario("second", sweep={"resume": "artifacts/latest/first"}),
        scenario("third", sweep={"resume": "earlier"}),
        scenario("fourth", sweep={"resume": "latest"}),
    ]
    found = dependencies([Loaded(each, tmp_path / "a.yaml") for each in files], run)
    assert found == [set(), {0}, set(), set()]


def test_more_ranks_take_more_memory() -> None:
    two = scenario(workload={"trainer": {"ranks_per_node": 2}})
    assert memory_of(two) - memory_of(scenario()) == 2 * 400 * 2**20


@pytest.mark.parametrize(("cores", "jobs"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 8)])
def test_two_cores_for_each(cores: int, jobs: int) -> None:
    assert fitting_jobs(cores) == jobs


def test_free_memory_is_the_machines_or_the_control_groups_whichever_is_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       100 kB\nMemAvailable:   10240 kB\nHugePages_Total: 0\n")
    limit, usage = tmp_path / "max", tmp_path / "current"
    monkeypatch.setattr(module, "_MEMORY", meminfo)
    monkeypatch.setattr(module, "_LIMITS", ((str(limit), str(usage)),))
    assert free_memory() == int(10240 * 1024 * 0.8)
    limit.write_text("max\n")
    usage.write_text("1000\n")
    assert free_memory() == int(10240 * 1024 * 0.8)
    limit.write_text("11000\n")
    assert free_memory() == 8000
    monkeypatch.setattr(module, "_MEMORY", tmp_path / "nothing")
    assert free_memory() is None


def test_torch_is_imported_once_where_several_are_warm_and_memory_allows() -> None:
    warm = scenario(nodes=4, workload={"trainer": {"launcher": "warm"}})
    cold = scenario(workload={"trainer": {"launcher": "plain", "command": "python train.py"}})
    assert shared_nodes([warm, cold, warm], Room()) == 2
    assert shared_nodes([warm, cold], Room()) == 0
    assert shared_nodes([warm, warm], Room(overlapping=False)) == 0
    assert shared_nodes([warm, warm], Room(memory=memory_of(warm))) == 0
    assert shared_nodes([warm, warm], Room(memory=memory_of(warm) + GIB)) == 2
    assert shared_nodes([warm, warm], Room(memory=memory_of(warm) + GIB), copies=2) == 0
