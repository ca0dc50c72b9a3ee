"""What can be forked, and what is started for it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from metta_sandbox.node.agent.fork_server.launcher import rank_environment
from metta_sandbox.node.agent.fork_server.spawn import at_start
from metta_sandbox.node.launchers import warm
from metta_sandbox.node.launchers.base import GroupSpec
from metta_sandbox.node.launchers.warm import (
    Program,
    WarmLauncher,
    ranks_command,
    read_program,
)

ENVIRON = {"PATH": str(Path(sys.executable).parent)}


@pytest.mark.parametrize(
    ("words", "kind", "target", "arguments", "unbuffered"),
    [
        ("train.py", "script", "train.py", (), False),
        ("-u train.py --lr 1", "script", "train.py", ("--lr", "1"), True),
        ("-m mine.train -m x", "module", "mine.train", ("-m", "x"), False),
        ("-u -m mine.train a=1", "module", "mine.train", ("a=1",), True),
    ],
)
def test_scripts_and_modules_are_read_as_python_reads_them(
    words: str, kind: str, target: str, arguments: tuple[str, ...], unbuffered: bool
) -> None:
    command = (sys.executable, *words.split())
    program = read_program(command, {})
    expected = Program(sys.executable, kind, target, arguments, command, unbuffered)  # type: ignore[arg-type]
    assert program == expected


def test_an_interpreter_is_looked_up_where_the_trial_looks() -> None:
    program = read_program(("python", "train.py"), ENVIRON)
    assert isinstance(program, Program)
    assert Path(program.interpreter).parent == Path(sys.executable).parent


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("bash", "train.sh"), "bash is no Python interpreter"),
        (("./train.py",), "./train.py is no Python interpreter"),
        (("python4", "train.py"), "python4 is no Python interpreter"),
        (("python", "-c", "print()"), "only SCRIPT and -m MODULE can be forked, not -c"),
        (("python", "-O", "train.py"), "not -O"),
        (("python",), "not nothing"),
        (("python", "-m"), "not -m"),
        (("python", "/"), "/ is a folder"),
    ],
)
def test_what_can_t_be_forked_is_told(command: tuple[str, ...], reason: str) -> None:
    said = read_program(command, ENVIRON)
    assert isinstance(said, str)
    assert reason in said


def test_an_interpreter_that_is_not_there_is_told() -> None:
    assert read_program(("python3", "train.py"), {"PATH": "/nowhere"}) == "python3 is not there"


def test_variables_that_count_at_start_tell_warm_processes_apart() -> None:
    counting = {
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": "/x",
        "OMP_NUM_THREADS": "2",
        "LD_PRELOAD": "/y",
        "TORCH_FR_BUFFER_SIZE": "8",
        "PATH": "/bin",
    }
    others = {"METTA_TRIAL": "3", "LR": "0.1", "MY_TORCH": "1", "WANDB_DIR": "/z"}
    assert at_start({**others, **counting}) == dict(sorted(counting.items()))


def test_what_a_library_adds_to_the_environment_meanwhile_asks_for_no_other_warm_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("METTA_EVENTS", "/tmp/events.sock")
    client = Mock()
    launcher = WarmLauncher(client, "agent.pyz", cold=Mock(), preload=(), tell=Mock())
    for variables in ({}, {}, {"OMP_NUM_THREADS": "7"}):
        launcher.prepare((sys.executable, "train.py"), variables)
        # As scikit-learn does with others of these when it is imported.
        monkeypatch.setenv("KMP_LATER", "1")
    assert [call.args[0] for call in client.start.call_args_list] == ["warm-1", "warm-2"]
    assert all("KMP_LATER" not in call.args[2] for call in client.start.call_args_list)


def test_nodes_whose_sockets_lie_in_one_folder_have_warm_processes_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listening = set()
    for node in ("sweep-master", "sweep-worker"):
        monkeypatch.setenv("METTA_EVENTS", f"/tmp/{node}.sock")
        client = Mock()
        launcher = WarmLauncher(client, "agent.pyz", cold=Mock(), preload=(), tell=Mock())
        launcher.prepare((sys.executable, "train.py"), {})
        command = client.start.call_args.args[1]
        listening |= {word for word in command if word.startswith("--listen=")}
    assert len(listening) == 2


def test_a_warm_process_that_ended_leaves_every_trial_to_torchrun_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("METTA_EVENTS", str(tmp_path / "node.sock"))
    monkeypatch.setenv("NODE_INDEX", "0")
    # Whoever asks is told of the end once.
    client = Mock(next=Mock(side_effect=[{"type": "exit", "status": 2}]))
    cold, tell = Mock(), Mock()
    launcher = WarmLauncher(client, "agent.pyz", cold=cold, preload=(), tell=tell)
    for trial in (1, 2):
        command = (sys.executable, "train.py")
        launcher.launch(GroupSpec(f"trial-{trial}", command, 1, 0, "x", 1, tmp_path))
    assert cold.launch.call_count == 2
    tell.assert_called_once()


def test_a_warm_process_that_was_killed_between_trials_has_a_successor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("METTA_EVENTS", str(tmp_path / "node.sock"))
    monkeypatch.setenv("NODE_INDEX", "0")
    gone: set[str] = set()

    def ask(socket: str, _: float) -> str:
        if socket in gone:
            raise ConnectionRefusedError
        return ""

    monkeypatch.setattr(warm, "ask", ask)
    client = Mock(next=Mock(side_effect=[{"type": "exit", "status": -9}]))
    cold, tell = Mock(), Mock()
    launcher = WarmLauncher(client, "agent.pyz", cold=cold, preload=(), tell=tell)
    for trial in (1, 2, 3):
        command = (sys.executable, "train.py")
        launcher.launch(GroupSpec(f"trial-{trial}", command, 1, 0, "x", 1, tmp_path))
        if trial == 1:
            gone.add(str(tmp_path / "node-warm-1.sock"))

    started = [call.args[0] for call in client.start.call_args_list]
    assert started == ["warm-1", "trial-1", "warm-2", "trial-2", "trial-3"]
    cold.launch.assert_not_called()
    tell.assert_called_once_with("the warm process is gone, so there is another")


def test_the_command_carries_place_and_program() -> None:
    spec = GroupSpec(
        group="trial-1",
        command=("python", "train.py"),
        num_nodes=2,
        node_rank=1,
        master_addr="sweep-master",
        master_port=1234,
        log_folder=Path("/run/trials/x"),
        ranks_per_node=2,
    )
    program = Program("/bin/python", "script", "train.py", (), spec.command, unbuffered=False)
    *start, warm, folder, group, run = ranks_command(spec, program, "a.pyz", "/w.sock", "/py")
    assert start == ["/py", "-I", "-S", "a.pyz", "ranks"]
    assert (warm, folder) == ("--warm=/w.sock", "--log-folder=/run/trials/x")
    place = json.loads(group.removeprefix("--group="))
    assert json.loads(run.removeprefix("--run="))["target"] == "train.py"
    environ = rank_environment(place, 1, "/e.json")
    assert (environ["RANK"], environ["LOCAL_RANK"], environ["GROUP_RANK"]) == ("3", "1", "1")
    assert (environ["WORLD_SIZE"], environ["MASTER_PORT"]) == ("4", "1234")
