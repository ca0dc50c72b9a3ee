"""Steady states as nodes' answers show them, and what is proven while nodes are there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.play.node_commands import Executed, NodeCommands
from metta_sandbox.play.proving import prove, read, wanted
from metta_sandbox.play.steady import Observer, fault_of, results
from metta_sandbox.probes import look_outside, source
from metta_sandbox.scenario.expect.judgement import Judgement
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.needs import lacking
from metta_sandbox.stack.engines.compose.engine import ComposeEngine
from metta_sandbox.stack.engines.process.engine import ProcessEngine

HOSTS = ("sweep-master", "sweep-worker")
RESOLVED = ('{"unresolved": [], "disk": 2000000000, "memory": null}',)


def scenario(*states: dict[str, Any], **keys: Any) -> Scenario:
    return Scenario.model_validate(
        {"version": 1, "name": "x", "steady_state": list(states), **keys}
    )


def look(
    state: dict[str, Any], ends: Mapping[str, Executed], *, local: bool = False
) -> tuple[Judgement, Mapping[str, Sequence[str]]]:
    """Look at one item where commands end so; give what was run, too."""
    asked: dict[str, Sequence[str]] = {}

    def execute(
        _: str, commands: Mapping[str, Sequence[str]], patience: float
    ) -> Mapping[str, Executed]:
        assert patience > 0
        asked.update(commands)
        return {host: ends[host] for host in commands}

    observer = Observer(HOSTS, "python3", local, execute)
    return observer.look(scenario(state).steady_state[0]), asked


def both(end: Executed) -> dict[str, Executed]:
    return dict.fromkeys(HOSTS, end)


GOOD = Executed(0, RESOLVED)
ANSWER = Executed(0, ('{"status": 200, "seconds": 0.25}',))
ALONE = Executed(0, (RESOLVED[0][:-1] + ', "asked": ["10.9.8.1"], "answering": []}',))
REACHED = Executed(0, (RESOLVED[0][:-1] + ', "asked": ["10.9.8.1"], "answering": ["10.9.8.1"]}',))
MUTE = Executed(None, (), "sweep-worker is lost")


@pytest.mark.parametrize(
    ("state", "ends", "verdict", "detail"),
    [
        ({"nodes": {}}, both(GOOD), "passed", "2 ready, all names resolve"),
        (
            {"nodes": {}},
            {**both(GOOD), "sweep-worker": MUTE},
            "failed",
            "sweep-worker: expected it to be ready, saw sweep-worker is lost",
        ),
        (
            {"nodes": {}},
            {**both(GOOD), "sweep-worker": Executed(0, ('{"unresolved": ["sweep-master"]}',))},
            "failed",
            "saw it does not resolve sweep-master",
        ),
        ({"nodes": {"disk": "2GB"}}, both(GOOD), "passed", "2 ready, all names resolve"),
        (
            {"nodes": {"disk": "2.1GB"}},
            both(GOOD),
            "failed",
            "sweep-worker: expected 2.1 GB of disk, saw 2 GB",
        ),
        ({"nodes": {"memory": 1}}, both(GOOD), "failed", "of memory, saw nobody says"),
        (
            {"nodes": {"no_way_out": True}},
            both(ALONE),
            "passed",
            "2 ready, all names resolve, nobody answers at 10.9.8.1",
        ),
        (
            {"nodes": {"no_way_out": True}},
            {**both(ALONE), "sweep-worker": REACHED},
            "failed",
            "sweep-worker: expected nobody to be outside, saw somebody answers at 10.9.8.1",
        ),
        ({"api": {}}, both(ANSWER), "passed", "200 in 250 ms"),
        ({"api": {"status": 401}}, both(ANSWER), "failed", "expected 401 within 5 s, saw 200 in"),
        (
            {"api": {"within": "100ms"}},
            both(ANSWER),
            "failed",
            "200 within 100 ms, saw 200 in 250",
        ),
        ({"api": {}}, both(Executed(0, ('{"problem": "refused"}',))), "failed", "saw refused"),
        ({"api": {}}, both(Executed(1, ("no python",))), "inconclusive", "sweep-master could not"),
        ({"command": {"run": "x"}}, both(Executed(0, ("y", " "))), "passed", "status 0, saying: y"),
        ({"command": {"run": "x"}}, both(Executed(2)), "failed", "sweep-worker: expected exits"),
        ({"command": {"run": "x"}}, both(Executed(-9)), "failed", "saw killed by signal 9"),
        ({"command": {"run": "x"}}, both(Executed(None, (), "not done")), "failed", "saw not done"),
        (
            {"command": {"run": "x", "prints": "^z"}},
            both(Executed(0, ("y",))),
            "failed",
            "sweep-master: expected a line like '^z', saw status 0, saying: y",
        ),
        (
            {"command": {"run": "x", "prints": "^(a+)+$"}},
            both(Executed(0, ("y", "a" * 40 + "!"))),
            "inconclusive",
            "line 2 of the output on sweep-master: the pattern '^(a+)+$' could not be matched",
        ),
        ({"command": {"run": "x", "on": "sweep-worker"}}, {"sweep-worker": GOOD}, "passed", "{"),
    ],
)
def test_a_state_is_judged_by_what_nodes_say(
    state: dict[str, Any], ends: Mapping[str, Executed], verdict: str, detail: str
) -> None:
    judgement, _ = look(state, ends)

    assert judgement.verdict == verdict, judgement.detail
    assert detail in judgement.detail


def test_names_are_asked_for_where_nodes_have_some(tmp_path: Path) -> None:
    assert tmp_path
    judgement, asked = look({"nodes": {}}, both(GOOD), local=True)
    assert judgement.detail == "2 ready, names left out: nodes are local processes"
    assert asked["sweep-worker"][-1] == source("look_at_node")

    _, asked = look({"nodes": {}}, both(GOOD))
    assert tuple(asked["sweep-worker"][-2:]) == HOSTS


def test_local_processes_have_a_way_out() -> None:
    closed = scenario({"nodes": {}}, {"nodes": {"no_way_out": True}})
    assert lacking(closed, ComposeEngine()) == ""
    assert lacking(closed, ProcessEngine()) == (
        "the engine process lacks containers (steady_state[1].nodes.no_way_out)"
    )
    assert lacking(scenario({"nodes": {}}), ProcessEngine()) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only nodes are asked, which have Linux")
def test_who_answers_is_told_from_who_does_not() -> None:
    # No connection goes to everybody.
    asked = ["127.0.0.1", "255.255.255.255"]
    assert look_outside.answering(asked) == ["127.0.0.1"]
    route = (
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t1E4DD50A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t104DD50A\t00000000\t0001\t0\t0\t0\tF0FFFFFF\t0\t0\t0\n"
    )
    assert look_outside.gateways(route, {"10.213.77.17"}) == ["10.213.77.30"]


def test_a_look_that_breaks_is_inconclusive() -> None:
    judgement, _ = look({"nodes": {}}, {})

    assert judgement.verdict == "inconclusive"
    assert "the look itself broke: KeyError" in judgement.detail


def test_before_and_after_stand_in_one_record() -> None:
    shaky = scenario({"nodes": {}}, {"api": {}})
    held, lost = look({"nodes": {}}, both(GOOD))[0], look({"nodes": {}}, both(MUTE))[0]

    first, second = results(shaky, (held, held), (held, lost))

    assert (first.verdict, second.verdict) == ("passed", "failed")
    assert first.seen.splitlines()[1] == "after: 2 ready, all names resolve"
    assert (first.asked_by, second.asked_by) == ("steady_state[0]", "steady_state[1]")
    (unseen,) = results(scenario({"nodes": {}}), (held,), (), "the sweep was silent")
    assert unseen.verdict == "passed"
    assert "after: not looked at: the sweep was silent" in unseen.detail
    assert results(shaky, (), ()) == ()


def test_the_worst_of_a_steady_state_is_the_reason() -> None:
    shaky = scenario({"nodes": {}}, {"api": {}})
    held, lost = look({"nodes": {}}, both(GOOD))[0], look({"nodes": {}}, both(MUTE))[0]
    unclear, _ = look({"api": {}}, both(Executed(1)))

    assert fault_of(shaky, (held, held)) == ("passed", "")
    verdict, reason = fault_of(shaky, (lost, unclear))
    assert (verdict, reason.partition(":")[0]) == ("failed", "steady state did not hold")
    verdict, reason = fault_of(shaky, (held, unclear))
    assert (verdict, reason.partition(":")[0]) == ("inconclusive", "steady state could not be told")


def test_what_runs_beside_is_followed_by_its_group() -> None:
    beside = NodeCommands("look", HOSTS)
    messages: tuple[Any, ...] = (
        {"type": "lines", "node": "sweep-master", "source": "look", "lines": ["a", "{x"]},
        {"type": "lines", "node": "sweep-master", "source": "sweep", "lines": ["b"]},
        {"type": "exit", "node": "sweep-master", "group": "sweep", "status": 3},
        {"type": "exit", "node": "sweep-master", "group": "look", "status": 0},
        {"type": "lines", "node": "sweep-worker", "source": "look", "lines": ['{"y": 1}', "[1]"]},
    )
    for message in messages:
        assert "sweep-worker" in beside.missing
        beside.take(message)
    beside.take({"type": "lost", "node": "sweep-worker"})

    assert beside.missing == []
    assert beside.ends()["sweep-master"] == Executed(0, ("a", "{x"))
    worker = beside.ends()["sweep-worker"]
    assert (worker.status, worker.problem) == (None, "sweep-worker is lost")
    assert worker.answers == [{"y": 1}]


def test_the_end_of_a_connection_is_the_end_of_all_that_runs_beside() -> None:
    beside = NodeCommands("look", HOSTS)
    beside.take({"type": "gone", "reason": "", "still": False})
    assert {end.problem for end in beside.ends().values()} == {
        "the connection to the stack is gone"
    }


def said(*lines: dict[str, str], status: int | None = 0, problem: str = "") -> Executed:
    return Executed(status, tuple(json.dumps(line) for line in lines), problem)


def test_what_a_node_says_of_checkpoints_is_kept(tmp_path: Path) -> None:
    file = {"file": "trials/a/checkpoint.pt", "problem": "torn"}
    played = scenario(expect=[{"checkpoint": "loadable"}, {"checkpoint": {"file": "*.pt"}}])

    def execute(_: str, commands: Mapping[str, Sequence[str]], __: float) -> Mapping[str, Executed]:
        assert commands["sweep-master"][-2:] == ["checkpoint.pt", "*.pt"]
        return {"sweep-master": said(file)}

    prove(played, "python3", execute, tmp_path)

    kept = json.loads((tmp_path / "checkpoints.json").read_text())
    assert kept == {"problem": "", "files": {file["file"]: "torn"}}
    assert wanted(scenario(expect=[{"checkpoint": "present"}])) == []


@pytest.mark.parametrize(
    ("end", "problem"),
    [
        (said({"problem": "torch can't be imported"}), "torch can't be imported"),
        (said(status=None, problem="not done within 120 s"), "not done within 120 s"),
        (Executed(1, ("Killed",)), "sweep-master: status 1, saying: Killed"),
        (Executed(-11), "sweep-master: status -11, saying: nothing"),
    ],
)
def test_what_a_node_did_not_come_to_is_no_proof(end: Executed, problem: str) -> None:
    assert read({"sweep-master": end}, "sweep-master").problem == problem


def run(name: str, *words: str, **env: str) -> list[dict[str, Any]]:
    """Run a probe as a node does."""
    command = [sys.executable, "-c", source(name), *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_node_says_which_names_it_cannot_resolve_and_what_it_has() -> None:
    (answer,) = run("look_at_node", "127.0.0.1", "nobody.invalid")
    assert answer["unresolved"] == ["nobody.invalid"]
    assert answer["disk"] > 0
    assert answer["memory"] > 0


def test_a_node_says_that_nobody_answers_it() -> None:
    (answer,) = run("ask_api", "/health", "1", OBSERVATORY_URL="http://127.0.0.1:9", HOME="/")
    assert "refused" in answer["problem"]


FAKE_TORCH = """\
import pickle

def load(path, map_location, weights_only):
    text = path.read_text()
    if text == "classes" and weights_only:
        raise pickle.UnpicklingError("not only weights")
    if text == "torn":
        raise EOFError("it ends too early")
"""


@pytest.mark.parametrize(
    ("torch", "expected"),
    [
        (
            FAKE_TORCH,
            [
                {"file": "trials/a/checkpoint.pt", "problem": ""},
                {"file": "trials/b/checkpoint.pt", "problem": "EOFError: it ends too early"},
                {"file": "trials/c/checkpoint.pt", "problem": ""},
            ],
        ),
        ("import gone_missing", [{"problem": "torch can't be imported: No module named"}]),
    ],
)
def test_a_node_loads_what_trials_left(
    tmp_path: Path, torch: str, expected: list[dict[str, str]]
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "torch.py").write_text(torch)
    for trial, text in (("a", "weights"), ("b", "torn"), ("c", "classes")):
        (tmp_path / "trials" / trial).mkdir(parents=True)
        (tmp_path / "trials" / trial / "checkpoint.pt").write_text(text)
        (tmp_path / "trials" / trial / "rank-0.log").touch()
    env = {"METTA_RUN_FOLDER": str(tmp_path), "PYTHONPATH": str(tmp_path / "lib")}

    answers = run("load_checkpoints", "*.pt", "checkpoint.pt", **env)

    assert len(answers) == len(expected)
    for answer, wanted_answer in zip(answers, expected, strict=True):
        assert answer.get("file") == wanted_answer.get("file")
        assert answer["problem"].startswith(wanted_answer["problem"])
