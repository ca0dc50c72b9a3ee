"""Every fault of the catalogue in real sweeps of local processes: it strikes, which is proven."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from metta_sandbox.report.results import FaultResult, RunResult, ScenarioResult
from metta_sandbox.scenario.faults import CATALOGUE
from metta_sandbox.verdict import Verdict

if TYPE_CHECKING:
    from tests.integration.play.conftest import Command, Start, Write

BASE = """\
version: 1
name: base
longest_silence: 40s
sweep:
  max_failures_in_a_row: 20
  parameters:
    trainer.optimizer.learning_rate: {distribution: log_normal, min: 1e-4, max: 1e-2, mean: 3e-3}
workload:
  trainer:
    launcher: warm
    overrides:
      trainer: {total_timesteps: 256, batch_size: 128, minibatch_size: 64, bptt_horizon: 4,
                update_epochs: 1}
"""
INSIDE = """\
extends: _base.yaml
name: inside
sweep: {trials: 10}
faults:
  - {raise: {rank: 1}, when: {event: train.step, rank: 1, trial: 1, step: 1}}
  - {exit: {rank: 1, status: 3}, when: {event: train.step, rank: 1, trial: 2, step: 1}}
  - {segfault: {rank: 1}, when: {event: train.step, rank: 1, trial: 3, step: 1}}
  - {signal: {rank: 1, number: KILL}, when: {event: train.step, rank: 1, trial: 4, step: 1}}
  - {nan_gradients: {rank: 1}, when: {event: optimizer.step, rank: 1, trial: 5, step: 2}}
  - {overrides: {rank: 1, trial: 6, values: {trainer.optimizer.learning_rate: 0.5}}}
  - {corrupt: {file: checkpoint.pt}, when: {event: checkpoint.saved, trial: 7}}
  - {clock: {rank: 1, by: 1h}, when: {event: train.step, rank: 1, trial: 7, step: 1},
     until: {event: train.step, rank: 1, trial: 7, step: 2}}
  - {name: behind, clock: {rank: 0, by: -1h},
     when: {event: train.step, rank: 0, trial: 7, step: 1}}
  - {sleep: {rank: 1}, when: {event: train.step, rank: 1, trial: 8, step: 1}}
  - {name: end-sleep, signal: {rank: 1, number: KILL}, when: {started: sleep, after: 500ms}}
  - {hold_gil: {rank: 1}, when: {event: train.step, rank: 1, trial: 9, step: 1}}
  - {name: end-hold, signal: {rank: 1, number: KILL}, when: {started: hold-gil, after: 2s}}
  - {skip_collective: {rank: 1}, when: {event: train.step, rank: 1, trial: 10, step: 1}}
expect:
  - exits: {status: 1, rank: 1, of: 1}
  - exits: {status: 3, rank: 1, of: 2}
  - exits: {status: -11, rank: 1, of: 3}
  - exits: {status: -9, rank: 1, of: 4}
  - log: {contains: 'RuntimeError: injected by a fault', on: sweep-worker}
"""
NODES = """\
extends: _base.yaml
name: nodes
sweep: {trials: 2}
faults:
  - {late_start: {node: sweep-worker, by: 1s}}
  - {pause: {node: sweep-worker}, when: {event: train.step, rank: 1, trial: 1, step: 1},
     until: {after: 1s}}
  - {api: {route: 'POST /sweeps/{name}/runs/next', status: 503}, when: {call: 2},
     until: {after: 500ms}}
  - {slow_file: {file: checkpoint.pt, by: 500ms}, when: {event: checkpoint.saved, trial: 1}}
  - {kill: {node: sweep-worker}, when: {event: train.step, rank: 1, trial: 2, step: 1}}
expect:
  - ends: node_lost
  - trials: {completed: 1, pending: 1}
  - losses: {of: 1}
  - api: {route: 'POST /sweeps/{name}/runs/next', status: 503, calls: {at_least: 1}}
"""
REJOINING = """\
extends: _base.yaml
name: rejoining
on_node_failure: rejoin
sweep: {trials: 2}
faults:
  - {restart: {node: sweep-worker, down: 200ms},
     when: {event: handoff.received, node: sweep-worker, trial: 1}}
expect:
  - trials: {completed: 1, failed: 1}
  - events: {in_order: [{event: node.lost}, {event: node.rejoined},
                        {event: train.finished, where: {rank: 1, trial: 2}}]}
"""
TRACKING = """\
extends: _base.yaml
name: tracking
sweep: {trials: 2}
faults:
  - {run_name: {give: skipped}, when: {call: 2}}
  - {name: lost, api: {route: POST /stats/policies, drop: true}, when: {call: 1}}
  - {name: slow, api: {route: POST /stats/episodes, delay: 300ms}, when: {call: 1}}
  - {wandb_folder: {}, when: {event: suggestion.made, trial: 2}}
expect:
  - ends: node_failed
"""
TOKEN = """\
extends: _base.yaml
name: token
sweep: {trials: 1}
faults:
  - {reject_token: {}, when: {event: handoff.sent, trial: 1}}
  - {wandb_service: {}, when: {event: eval.finished, trial: 1}}
expect:
  - ends: node_failed
  - log: {contains: 'answered 401', on: sweep-master}
  - trials: {completed: 0}
"""
TOLD = """\
extends: _base.yaml
name: told
sweep: {trials: 1}
faults:
  - {terminate: {node: sweep-worker}, when: {event: train.step, rank: 1, trial: 1, step: 1}}
expect:
  - ends: node_lost
  - trials: {completed: 0}
"""


@pytest.fixture(scope="module")
def played(
    tmp_path_factory: pytest.TempPathFactory, starting: Callable[[Path], Iterator[Start]]
) -> RunResult:
    folder = tmp_path_factory.mktemp("faults")
    scenarios = folder / "scenarios"
    scenarios.mkdir()
    for name, text in (
        *(("_base", BASE), ("inside", INSIDE), ("nodes", NODES)),
        *(("rejoining", REJOINING), ("tracking", TRACKING), ("token", TOKEN)),
        ("told", TOLD),
    ):
        (scenarios / f"{name}.yaml").write_text(text)
    starts = starting(folder)
    command = next(starts)("run", scenarios, "--engine", "process")
    command.wait(400)
    result = command.results()
    assert not command.left()
    starts.close()  # type: ignore[attr-defined]
    return result


def fault(result: RunResult, kind: str) -> FaultResult:
    found = (one for scenario in result.scenarios for one in scenario.faults if one.kind == kind)
    return next(found)


#: What local processes can have.
ANYWHERE = [key for key, kind in CATALOGUE.items() if not (kind.in_containers or kind.sidecar)]
RESOURCES = """\
extends: _base.yaml
name: resources
sweep: {trials: 2}
faults:
  - {cpu: {node: sweep-worker, share: 0.1}, when: {event: train.started, rank: 1, trial: 1},
     until: {event: train.finished, rank: 1, trial: 1}}
  - {out_of_memory: {rank: 1}, when: {event: train.step, rank: 1, trial: 2, step: 1}}
expect:
  - trials: {completed: 1, failed: 1}
  - exits: {status: -9, rank: 1, of: 2}
"""


@pytest.mark.parametrize("kind", ANYWHERE)
def test_a_fault_strikes_and_is_proven(played: RunResult, kind: str) -> None:
    struck = fault(played, kind)

    assert struck.fired, struck
    assert struck.proven, struck


def scenario(result: RunResult, name: str) -> ScenarioResult:
    return next(one for one in result.scenarios if one.name == name)


@pytest.mark.parametrize("name", ["inside", "nodes", "rejoining", "tracking", "token", "told"])
def test_what_follows_is_what_was_expected(played: RunResult, name: str) -> None:
    one = scenario(played, name)

    assert one.verdict is Verdict.PASSED, (one.reason, [c for c in one.checks if c.detail])


def test_what_is_held_is_struck_at_that_very_moment(played: RunResult) -> None:
    held = [one for one in scenario(played, "inside").faults if "held" in one.proof]

    assert held
    assert {one.late for one in held if "not held" not in one.proof} == {0.0}


def test_a_clock_is_healed_while_its_rank_runs_and_gone_when_it_does_not(played: RunResult) -> None:
    ahead, behind = (one for one in scenario(played, "inside").faults if one.kind == "clock")

    assert (
        "during: rank 1's wall clock is 3600.000 s ahead, its monotonic clock right" in ahead.proof
    )
    assert "after: rank 1's wall clock is right, its monotonic clock right" in ahead.proof
    assert "during: rank 0's wall clock is 3600.000 s behind" in behind.proof
    assert "after: the process of rank 0 has ended, and its clock with it" in behind.proof


PAUSED = {"pause": {"node": "sweep-worker"}, "when": {"event": "train.step", "rank": 1}}


def stopped(command: Command) -> list[int]:
    """List the processes of the worker that stand still."""
    return [each.pid for each in command.nodes("sweep-worker") if state(each.pid) == "T"]


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def paused(command: Command) -> None:
    """Wait until the worker stands still, all of it."""
    command.says("fault pause: pause sweep-worker")
    command.eventually(
        lambda: len(stopped(command)) == len(command.nodes("sweep-worker")) > 0, "a still worker"
    )


def test_ctrl_c_heals_what_a_fault_has_brought_about(cli: Start, tiny: Write) -> None:
    command = cli("run", tiny(steps=None, faults=[PAUSED]), "--engine", "process")
    paused(command)

    command.interrupt()

    assert command.wait() == 130, command.text
    assert command.left() == []
    (pause,) = command.results().scenarios[0].faults
    assert pause.proven, pause
    assert "after: sweep-worker runs" in pause.proof


def test_a_killed_harness_leaves_nothing_that_stands_still_once_the_next_has_started(
    cli: Start, tiny: Write
) -> None:
    command = cli("run", tiny(steps=None, faults=[PAUSED]), "--engine", "process")
    paused(command)

    command.interrupt(signal.SIGKILL)
    command.process.wait()
    assert stopped(command)
    clean = [sys.executable, "-m", "metta_sandbox", "clean"]
    subprocess.run(clean, env=command.env, check=True, capture_output=True, timeout=60)

    assert command.left() == []


def test_a_sabotaged_injection_is_inconclusive(
    cli: Start, tiny: Write, hooked: Callable[[str], Path]
) -> None:
    # Signals that stop a process are lost on their way, whoever sends them.
    lost = (
        "import os, signal\n"
        "kill = os.kill\n"
        "os.kill = lambda pid, number: number == signal.SIGSTOP or kill(pid, number)\n"
    )
    python = hooked(lost)
    scenario = tiny(steps=20, faults=[{**PAUSED, "until": {"after": "300ms"}}])
    command = cli("run", scenario, "--engine", "process", python=python)

    assert command.wait() == 1, command.text
    (played,) = command.results().scenarios
    assert played.verdict is Verdict.INCONCLUSIVE, played.reason
    assert "during: sweep-worker runs" in played.reason
    assert (played.faults[0].fired, played.faults[0].proven) == (True, False)


@pytest.mark.slow
@pytest.mark.usefixtures("docker")
def test_faults_are_the_same_in_containers(cli: Start, tmp_path: Path) -> None:
    (tmp_path / "_base.yaml").write_text(BASE)
    raised = "  - {raise: {rank: 1}, when: {event: optimizer.step, rank: 1, trial: 2, step: 2}}\n"
    text = NODES.replace("trial: 2, step: 1", "trial: 3, step: 1")
    text = text.replace("faults:\n", f"faults:\n{raised}").replace("{trials: 2}", "{trials: 3}")
    (tmp_path / "nodes.yaml").write_text(text)
    command = cli("run", tmp_path / "nodes.yaml", "--engine", "compose")

    command.wait(300)
    (played,) = command.results().scenarios
    assert [(one.kind, one.proven) for one in played.faults] == [
        (kind, True) for kind in ("raise", "late_start", "pause", "api", "slow_file", "kill")
    ], played.faults
    assert played.verdict is Verdict.PASSED, played.reason


@pytest.mark.slow
@pytest.mark.usefixtures("docker")
def test_a_container_that_is_started_again_rejoins(cli: Start, tmp_path: Path) -> None:
    (tmp_path / "_base.yaml").write_text(BASE)
    (tmp_path / "rejoining.yaml").write_text(REJOINING)
    command = cli("run", tmp_path / "rejoining.yaml", "--engine", "compose")

    command.wait(300)
    (played,) = command.results().scenarios
    assert [(one.kind, one.proven) for one in played.faults] == [("restart", True)], played.faults
    assert played.verdict is Verdict.PASSED, played.reason


@pytest.mark.slow
@pytest.mark.usefixtures("docker")
def test_containers_run_out_of_what_they_have(cli: Start, tmp_path: Path) -> None:
    (tmp_path / "_base.yaml").write_text(BASE)
    (tmp_path / "resources.yaml").write_text(RESOURCES)
    command = cli("run", tmp_path / "resources.yaml", "--engine", "compose")

    command.wait(300)
    (played,) = command.results().scenarios
    assert [(one.kind, one.proven) for one in played.faults] == [
        ("cpu", True),
        ("out_of_memory", True),
    ], played.faults
    assert [(cause.kind, cause.rank) for cause in played.causes] == [("killed by the kernel", 1)]
    assert played.verdict is Verdict.PASSED, played.reason
