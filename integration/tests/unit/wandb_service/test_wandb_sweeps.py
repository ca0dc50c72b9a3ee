"""Sweeps: what agents are told, and what happens when an answer or an agent gets lost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.unit.wandb_service.conftest import StandIn

GRID = {
    "method": "grid",
    "program": "train.py",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"values": [1, 2, 3]}, "c": {"value": 4}},
}
STATE = """mutation UpsertSweep($id: ID, $state: String) {
  upsertSweep(input: {id: $id, state: $state}) { sweep { state } } }"""


def finish(server: StandIn, command: dict[str, Any], loss: float = 0) -> None:
    """Do a run that an agent was given."""
    config = json.dumps({**command["args"], "_wandb": {"value": {}}})
    server.upsert(command["run_id"], config=config)
    server.stream(command["run_id"], summary=(0, [{"loss": loss}]), complete=True, exitcode=0)


def types(commands: Sequence[dict[str, Any]]) -> list[str]:
    return [each["type"] for each in commands]


def test_a_grid_is_done_and_then_agents_leave(server: StandIn) -> None:
    sweep = server.sweep(GRID)
    agent = server.agent(sweep["name"])
    seen = []
    while types(commands := server.commands(agent)) == ["run"]:
        assert commands[0]["program"] == "train.py"
        seen.append({key: value["value"] for key, value in commands[0]["args"].items()})
        finish(server, commands[0], loss=seen[-1]["x"])
    assert types(commands) == ["exit"]
    assert sorted(each["x"] for each in seen) == [1, 2, 3]
    assert {each["c"] for each in seen} == {4}
    query = """query Q($s: String!) { project(name: "p") { sweep(sweepName: $s) {
      state bestLoss runCount runCountExpected method agents { edges { node { totalRuns } } }
      runs { edges { node { state sweepName } } } } } }"""
    found = server.data_of(query, s=sweep["name"])["project"]["sweep"]
    assert (found["state"], found["bestLoss"], found["method"]) == ("FINISHED", 1, "grid")
    assert (found["runCount"], found["runCountExpected"]) == (3, 3)
    assert found["agents"]["edges"] == [{"node": {"totalRuns": 3}}]
    assert {edge["node"]["sweepName"] for edge in found["runs"]["edges"]} == {sweep["name"]}
    with closing(server.records()) as records:
        assert records.sweeps() == {sweep["name"]: "FINISHED"}
        assert len(records.runs(sweep["name"])) == 3


def test_agents_of_several_nodes_are_given_different_values(server: StandIn) -> None:
    sweep = server.sweep(GRID)
    agents = [server.agent(sweep["name"]) for _ in range(3)]
    given = [server.commands(agent)[0] for agent in agents]
    assert {each["args"]["x"]["value"] for each in given} == {1, 2, 3}
    assert len({each["run_id"] for each in given}) == 3


def test_an_agent_that_works_is_told_nothing(server: StandIn) -> None:
    agent = server.agent(server.sweep(GRID)["name"])
    run = server.commands(agent)[0]["run_id"]
    assert server.commands(agent, run) == []


def test_a_run_whose_agent_never_heard_of_it_is_given_once_more(server: StandIn) -> None:
    agent = server.agent(server.sweep(GRID)["name"])
    lost, again, other = (server.commands(agent)[0] for _ in range(3))
    assert lost == again
    assert other["run_id"] != lost["run_id"]
    assert server.record(lost["run_id"]).state == "failed"


def test_a_run_that_ends_before_it_began_has_failed(server: StandIn) -> None:
    agent = server.agent(server.sweep(GRID)["name"])
    first = server.commands(agent)[0]["run_id"]
    assert server.commands(agent, first) == []
    assert server.commands(agent)[0]["run_id"] != first
    assert server.record(first).state == "failed"


@pytest.mark.parametrize(
    ("state", "idle", "busy"),
    [("PAUSED", [], []), ("FINISHED", ["exit"], []), ("CANCELED", ["exit"], ["exit"])],
)
def test_a_sweep_is_paused_stopped_and_cancelled(
    server: StandIn, state: str, idle: list[str], busy: list[str]
) -> None:
    sweep = server.sweep(GRID)
    working, waiting = server.agent(sweep["name"]), server.agent(sweep["name"])
    run = server.commands(working)[0]["run_id"]
    server.data_of(STATE, id=sweep["id"], state=state)
    assert types(server.commands(waiting)) == idle
    assert types(server.commands(working, run)) == busy
    server.data_of(STATE, id=sweep["id"], state="RUNNING")
    assert types(server.commands(waiting)) == ["run"]


def test_an_agent_stops_a_run_that_somebody_stopped(server: StandIn) -> None:
    agent = server.agent(server.sweep(GRID)["name"])
    run = server.commands(agent)[0]
    server.upsert(run["run_id"])
    stop = "mutation S($id: ID!) { stopRun(input: {id: $id}) { success } }"
    server.data_of(stop, id=run["run_storage_id"])
    assert server.commands(agent, run["run_id"]) == [{"type": "stop", "run_id": run["run_id"]}]


def test_bayes_learns_from_what_runs_came_to(server: StandIn) -> None:
    config = {**GRID, "method": "bayes", "parameters": {"x": {"min": 0.0, "max": 1.0}}}
    agent = server.agent(server.sweep(config)["name"])
    for loss in range(4):
        command = server.commands(agent)[0]
        assert 0 <= command["args"]["x"]["value"] <= 1
        finish(server, command, loss)


def test_a_sweep_has_no_more_runs_than_its_cap(server: StandIn) -> None:
    config = {"method": "random", "run_cap": 1, "parameters": {"x": {"min": 0, "max": 9}}}
    agent = server.agent(server.sweep(config)["name"])
    finish(server, server.commands(agent)[0])
    assert types(server.commands(agent)) == ["exit"]


def test_hyperband_stops_the_runs_that_are_behind(server: StandIn) -> None:
    early = {"type": "hyperband", "min_iter": 1, "eta": 3}
    config = {**GRID, "early_terminate": early}
    sweep = server.sweep(config)
    agents = [server.agent(sweep["name"]) for _ in range(3)]
    runs = [server.commands(agent)[0]["run_id"] for agent in agents]
    for run, loss in zip(runs, (1, 2, 100), strict=True):
        server.upsert(run)
        server.stream(run, history=(0, [{"_step": step, "loss": loss} for step in range(4)]))
    assert server.commands(agents[0], runs[0]) == []
    assert types(server.commands(agents[2], runs[2])) == ["stop"]


@pytest.mark.parametrize(
    "config",
    [
        "- a",
        "{",
        json.dumps({"method": "magic", "parameters": {"x": {"value": 1}}}),
        json.dumps({"method": "grid"}),
        json.dumps({"method": "bayes", "parameters": {"x": {"value": 1}}}),
    ],
)
def test_what_is_no_configuration_is_refused(server: StandIn, config: str) -> None:
    from tests.unit.wandb_service import conftest  # noqa: PLC0415 - its text

    assert "errors" in server.answer(conftest.SWEEP, config=config).json()


def test_what_only_the_engine_can_tell_is_said_to_the_agent(server: StandIn) -> None:
    from tests.unit.wandb_service import conftest  # noqa: PLC0415 - its text

    broken = {"method": "grid", "parameters": {"x": {"min": 0.5, "max": 1.5}}}
    agent = server.agent(server.sweep(broken)["name"])
    answer = server.answer(conftest.HEARTBEAT, id=agent, runState="{}")
    assert answer.status_code == 200
    assert "the sweep's configuration" in answer.json()["errors"][0]["message"]


def test_an_agent_of_no_sweep_is_told_404(server: StandIn) -> None:
    from tests.unit.wandb_service import conftest  # noqa: PLC0415 - its text

    assert server.answer(conftest.HEARTBEAT, id="QWdlbnQ6Nw==").status_code == 404
    assert server.answer(conftest.AGENT, sweep="none").status_code == 404


def test_earlier_runs_become_the_sweeps(server: StandIn) -> None:
    server.upsert("old", config='{"x": {"value": 1}}')
    query = """mutation U($c: String, $f: JSONString) { upsertSweep(input: {config: $c,
      projectName: "p", priorRunsFilters: $f}) { sweep { runCount } } }"""
    filters = json.dumps({"$or": [{"name": "old"}]})
    found = server.data_of(query, c=json.dumps(GRID), f=filters)["upsertSweep"]["sweep"]
    assert found == {"runCount": 1}


def test_sweeps_are_listed_by_filters(server: StandIn) -> None:
    for _ in range(2):
        sweep = server.sweep(GRID)
    server.data_of(STATE, id=sweep["id"], state="CANCELED")
    query = """query Q($f: JSONString) { project(name: "p") { totalSweeps
      sweeps(filters: $f) { edges { node { name } } } } }"""
    found = server.data_of(query, f=json.dumps({"state": "CANCELED"}))["project"]
    assert found["totalSweeps"] == 2
    assert found["sweeps"]["edges"] == [{"node": {"name": sweep["name"]}}]
