"""What is asked of many containers at once, of a client that says what an engine's would."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from metta_sandbox.stack.engines.compose.containers import (
    ContainerState,
    read_states,
    states,
    stop,
    tail,
    write_logs,
)

#: Stands in for the engine's client: knows three containers, and logs of two.
_CLIENT = r"""
import json, sys
words = sys.argv[1:]
open(__file__ + ".asked", "a").write(" ".join(words) + "\n")
name = words[-1]
if words[:2] == ["container", "stop"]:
    if "gone" in words:
        sys.stderr.write("Error response from daemon: No such container: gone\n")
    if "engine" in words:
        sys.stderr.write("Cannot connect to the Docker daemon\n")
    sys.exit("gone" in words or "engine" in words)
if words[:2] == ["container", "logs"]:
    if name == "cut":
        sys.stdout.write("one\n")
        sys.stdout.flush()
        sys.exit("Cannot connect to the Docker daemon")
    if name == "gone":
        sys.exit("Error response from daemon: No such container: gone")
    for stream, text in ((sys.stdout, b"a\r\n"), (sys.stderr, b"b\xff\n"), (sys.stdout, b"c")):
        stream.buffer.write(text)
        stream.flush()
"""


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a client on the PATH, and return the file of what it is asked."""
    # No engine is asked, whatever runs on this machine.
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{_CLIENT}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return program.with_name("docker.asked")


def line(name: str, **state: object) -> str:
    known = {"Status": "running", "Running": True, "ExitCode": 0, "OOMKilled": False}
    return f"/{name} {json.dumps({**known, **state})}\n"


def test_containers_are_told_apart_by_what_became_of_them() -> None:
    out = (
        line("runs")
        + line("new", Status="created", Running=False)
        + line("killed", Status="exited", Running=False, ExitCode=137, OOMKilled=True)
    )
    complaints = "Error response from daemon: No such container: gone\n"
    assert read_states(["runs", "new", "killed", "gone"], out, complaints) == {
        "runs": ContainerState(),
        "new": ContainerState(),
        "killed": ContainerState(ended=True, exit_code=137, out_of_memory=True),
        "gone": ContainerState(
            problem="is no longer there: Error response from daemon: No such container: gone"
        ),
    }


def test_of_an_engine_that_does_not_answer_no_container_is_called_gone() -> None:
    complaint = "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?"
    seen = read_states(["a", "b"], "", f"{complaint}\n")
    assert {one.problem for one in seen.values()} == {f"can't be reached: {complaint}"}


def test_all_states_are_asked_for_in_one_call(client: Path) -> None:
    states([f"c{number}" for number in range(64)])
    (asked,) = client.read_text().splitlines()
    assert asked.endswith("c62 c63")


@pytest.mark.usefixtures("client")
def test_logs_are_kept_byte_by_byte_and_in_order(tmp_path: Path) -> None:
    paths = {f"c{number}": tmp_path / "logs" / f"{number}.log" for number in range(9)}
    write_logs(paths)
    assert {path.read_bytes() for path in paths.values()} == {b"a\r\nb\xff\nc"}


@pytest.mark.usefixtures("client")
def test_a_log_that_can_not_be_had_says_why_and_keeps_no_other_from_being_kept(
    tmp_path: Path,
) -> None:
    paths = {name: tmp_path / f"{name}.log" for name in ("gone", "cut", "there")}
    write_logs(paths)
    gone = "[no log: Error response from daemon: No such container: gone]\n"
    assert paths["gone"].read_text() == gone
    assert paths["cut"].read_text() == "one\n[no log: Cannot connect to the Docker daemon]\n"
    assert paths["there"].read_bytes() == b"a\r\nb\xff\nc"


@pytest.mark.usefixtures("client")
def test_last_words_of_a_container_that_is_gone_are_none() -> None:
    assert tail("gone", 20) == []
    assert tail("there", 20) == ["a", "b�", "c"]


def test_all_are_stopped_in_one_call_and_only_an_engine_that_is_gone_is_told(
    client: Path,
) -> None:
    assert stop(["a", "b"], 2) == ""
    assert stop(["a", "gone"], 2) == ""
    assert stop(["gone", "engine"], 2) == "Cannot connect to the Docker daemon"
    asked = client.read_text().splitlines()
    assert asked[0] == "container stop -t 2 a b"
