from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.__main__ import ROWS
from benchmarks.contest import UnableError
from benchmarks.inside.readiness import WORD, await_all
from benchmarks.ours import hosts_of
from benchmarks.raw import compose_file, speaking_file, torchrun, training_file
from benchmarks.rows.memory import anonymous, await_held, per_node
from benchmarks.rows.sweep import reckon, reckoned
from benchmarks.rows.trial import in_a_row
from benchmarks.setting import BenchmarkSetting
from benchmarks.talking import INSIDE, Talker, beside, call, calls, together
from metta_sandbox.scenario.loading import load, load_all


@pytest.fixture
def setting(tmp_path: Path) -> BenchmarkSetting:
    return BenchmarkSetting(
        tmp_path, "bench-1", "image:1", "sha256:1", INSIDE, quick=False, tell=print
    )


def test_rows_and_what_ours_are_measured_against(setting: BenchmarkSetting) -> None:
    contests = [contest for row in ROWS.values() for contest in row(setting)]
    assert [contest.key for contest in contests] == [
        *("trial", "sweep", "launch", "stack/2", "stack/8", "stack/32", "stack/64", "commands"),
        *("cookbook", "memory/2", "memory/8", "memory/32", "boundary/report", "boundary/trainer"),
    ]
    for contest in contests:
        names = [one.name for one in contest.contestants]
        assert len(set(names)) == len(names)
        assert {goal.of for goal in contest.goals} <= set(names)
        assert contest.once <= set(names) - {goal.of for goal in contest.goals}
        assert bool(contest.goals) is (contest.key.partition("/")[0] not in {"cookbook", "memory"})


def test_plain_containers_have_the_same_image_script_and_limits() -> None:
    request = compose_file("bench-1-x", "image:1", 3, Path("/scripts"))
    assert request["name"] == "bench-1-x"
    assert list(request["services"]) == ["node-0", "node-1", "node-2"]
    assert request["services"]["node-2"] == {
        "image": "image:1",
        "command": ["sleep", "infinity"],
        "stop_signal": "SIGKILL",
        "environment": {"OMP_NUM_THREADS": "1"},
        "volumes": ["/scripts:/bench:ro"],
    }


def test_plain_containers_that_are_to_be_ready_say_so_and_end_when_told() -> None:
    request = speaking_file("bench-1-x", "image:1", 34)
    assert len(request["services"]) == 34
    command = request["services"]["node-33"]["command"]
    with subprocess.Popen([sys.executable, *command[1:]], stdout=subprocess.PIPE) as one:
        assert one.stdout is not None
        assert WORD in one.stdout.readline().decode()
        one.terminate()
        assert one.wait(10) == 0


def test_all_are_awaited_and_one_that_says_nothing_is_missed(tmp_path: Path) -> None:
    logs = tmp_path / "logs.py"
    logs.write_text(f"print('n-0  | {WORD}'); print('n-1  | {WORD}', flush=True)\n")
    await_all([sys.executable, str(logs)], 2)
    with pytest.raises(RuntimeError, match="2 of 3 containers"):
        await_all([sys.executable, str(logs)], 3)


def test_plain_containers_that_are_measured_run_the_same_trainer_as_ours() -> None:
    request = training_file("bench-1-x", "image:1", 8, Path("/scripts"), Path("/held"))
    service = request["services"]["node-7"]
    assert service["command"][-1] == "/bench/holding.py"
    assert {"--nnodes=8", "--node-rank=7"} < set(service["command"])
    assert service["volumes"] == ["/scripts:/bench:ro", "/held:/shared"]
    assert service["environment"]["BENCH_SHARED"] == "/shared"
    trainer = load(INSIDE / "hold.yaml").workload.trainer
    assert trainer.command == ("python", "holding.py")
    (held,) = load_all([INSIDE / "hold.yaml"], {"nodes": "8"})
    assert held.scenario.nodes == 8


@pytest.mark.parametrize("name", ["total_rss", "anon"])
def test_own_memory_is_read_from_both_kinds_of_control_groups(name: str) -> None:
    assert anonymous(["file 7", "cache 1", f"{name} 350000000", "mapped_file 9"]) == 350
    assert anonymous(["cache 1"]) is None


def test_memory_of_a_node_that_is_missing_is_not_divided_away() -> None:
    sample = per_node([300.0, 500.0], 100.0, 2)
    assert (sample.value, sample.parts["nodes"]) == (450, 400)
    with pytest.raises(UnableError, match="1 of 2"):
        per_node([300.0], 100.0, 2)


def test_ranks_of_a_program_that_has_ended_are_not_awaited(tmp_path: Path) -> None:
    (tmp_path / "held-0").touch()
    await_held(tmp_path, 1)
    with beside([sys.executable, "-c", "pass"], tmp_path) as program:
        program.wait()
        with pytest.raises(UnableError, match="1 of 2 ranks"):
            await_held(tmp_path, 2, program)


def test_a_program_beside_is_ended(tmp_path: Path) -> None:
    with beside([sys.executable, "-c", "import time; time.sleep(600)"], tmp_path) as program:
        assert program.poll() is None
    assert program.poll() is not None


def test_trials_that_were_not_done_are_reckoned_and_said() -> None:
    taken = {f"trial {number}": 2.0 for number in range(5)}
    assert reckon(taken, 3.0, 20).value == 43
    assert reckon(taken, 3.0, 5).value == 13
    assert reckoned(20, 5) == "; 5 trials done, taken 4 times"
    assert not reckoned(20, 20)


def test_of_short_trials_the_median_of_some_in_a_row_counts() -> None:
    taken = iter([0.9, 0.3, 0.4])
    sample = in_a_row(3, lambda: next(taken))
    assert (sample.value, len(sample.parts)) == (0.4, 3)
    assert not in_a_row(1, lambda: 5.0).parts


def test_torchrun_by_hand() -> None:
    command = torchrun(2, 1, 29600, "--lr=0.1")
    assert command[0] == "torchrun"
    assert command[-2:] == ("/bench/ddp.py", "--lr=0.1")
    assert {"--nnodes=2", "--node-rank=1", "--master-port=29600"} < set(command)


def test_hosts_are_those_of_a_scenario() -> None:
    scenario = load(INSIDE / "sweep.yaml")
    assert hosts_of(2) == tuple(scenario.hosts)
    assert hosts_of(4)[2:] == ("sweep-worker-2", "sweep-worker-3")


def test_failed_program_says_its_last_words() -> None:
    with pytest.raises(UnableError, match="no such thing"):
        call([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_one_of_several_that_fails_is_enough() -> None:
    with pytest.raises(UnableError):
        calls([[sys.executable, "-c", ""], [sys.executable, "-c", "raise SystemExit(3)"]])


def test_programs_see_the_same_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    output = tmp_path / "output"
    look = "import os; print(os.environ['OMP_NUM_THREADS'])"
    assert call([sys.executable, "-c", look], output=output) > 0
    assert output.read_text() == "1\n"


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    script = tmp_path / "echo.py"
    script.write_text(
        f"import sys, time; sys.path.insert(0, {str(INSIDE)!r})\n"
        "from answering import serve\n"
        "def work(request):\n"
        "    print('noise')\n"
        "    if request['word'] == 'die': raise SystemExit('died')\n"
        "    if request['word'] == 'sleep': time.sleep(60)\n"
        "    return {'twice': request['word'] * 2, 'length': len(request['word'].strip('.'))}\n"
        "try: serve(work)\n"
        f"finally: open({str(tmp_path / 'tidied')!r}, 'w').close()\n"
    )
    return script


def test_programs_are_asked_together(echo: Path) -> None:
    talkers = [Talker([sys.executable, echo]) for _ in range(2)]
    try:
        seconds, answers = together(talkers, word="ab")
        assert [answer["twice"] for answer in answers] == ["abab", "abab"]
        assert seconds > 0
        with pytest.raises(UnableError, match="AttributeError"):
            together(talkers[:1], word=5)
        assert together(talkers[:1], word="c")[1] == [{"twice": "cc", "length": 1}]
    finally:
        for talker in talkers:
            talker.close()


def test_program_that_ends_is_not_waited_for(echo: Path) -> None:
    talker = Talker([sys.executable, echo])
    try:
        with pytest.raises(UnableError, match="died"):
            together([talker], word="die")
    finally:
        talker.close()


def test_program_in_the_middle_of_something_tidies_up_at_once(echo: Path) -> None:
    talker = Talker([sys.executable, echo])
    talker.say(word="sleep")
    began = time.monotonic()
    talker.close()
    assert time.monotonic() - began < 30
    assert (echo.parent / "tidied").exists()


def test_program_that_does_not_start_says_why() -> None:
    with pytest.raises(UnableError, match="No module named"):
        Talker([sys.executable, "-m", "not_there"])
