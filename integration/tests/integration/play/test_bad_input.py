"""What a person mistypes: said with its place, before anything is started."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.play.conftest import Start, Write


@pytest.mark.parametrize(
    ("line", "wrong", "said"),
    [
        ("deadline: 10m", "dedline: 10m", "did you mean deadline?"),
        ("nodes: 2", "nodes: two", "whole number"),
        ("strategy: protein", "strategy: protien", "did you mean protein?"),
        ("total_timesteps: 2048", "total_timestep: 2048", "did you mean trainer.total_timesteps?"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_place(
    cli: Start, tmp_path: Path, line: str, wrong: str, said: str
) -> None:
    text = Path("scenarios/basic.yaml").read_text()
    file = tmp_path / "wrong.yaml"
    file.write_text(text.replace(line, wrong))
    (number, written) = next(
        (number, each)
        for number, each in enumerate(file.read_text().splitlines(), 1)
        if wrong in each
    )
    column = written.index(wrong) + 1

    command = cli("run", file)

    assert command.wait() == 2
    assert f"{file}:{number}:" in command.text
    places = {f"{file}:{number}:{column}", f"{file}:{number}:{written.index(': ') + 3}"}
    assert any(place in command.text for place in places), command.text
    assert said in command.text
    assert "Traceback" not in command.text
    assert not command.artifacts.exists()


def test_a_file_that_is_not_there(cli: Start) -> None:
    command = cli("run", "scenarios/absent.yaml")

    assert command.wait() == 2
    assert "scenarios/absent.yaml" in command.text
    assert "Traceback" not in command.text


def test_a_filter_that_no_scenario_fits(cli: Start) -> None:
    command = cli("run", "scenarios", "--filter", "basik")

    assert command.wait() == 2
    assert "--filter basik: no scenario has that in its name or tags" in command.text
    assert "did you mean basic?" in command.text


def test_an_engine_that_does_not_exist(cli: Start, tiny: Write) -> None:
    command = cli("run", tiny(), "--engine", "composer")

    assert command.wait() == 2
    assert "'composer' is none of auto, compose, process" in command.text


def test_artifacts_below_a_file(cli: Start, tiny: Write, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command = cli("run", tiny(), "--engine", "process", artifacts=tmp_path / "file" / "artifacts")

    assert command.wait() == 3
    assert f"artifacts cannot be written to {tmp_path}/file/artifacts" in command.text
    assert "--artifacts" in command.text.partition("->")[2]
    assert command.left() == []


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a small file system in memory."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root mounts")
    made = []

    def mount(options: str) -> Path:
        folder = tmp_path / "mounted"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True)
        made.append(folder)
        return folder

    yield mount
    for folder in made:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_artifacts_on_a_read_only_disk(
    cli: Start, tiny: Write, mounted: Callable[[str], Path]
) -> None:
    folder = mounted("ro")
    command = cli("run", tiny(), "--engine", "process", artifacts=folder)

    assert command.wait() == 3
    assert f"artifacts cannot be written to {folder}: Read-only file system" in command.text
    assert command.left() == []


def test_artifacts_on_a_full_disk(cli: Start, tiny: Write, mounted: Callable[[str], Path]) -> None:
    folder = mounted("size=64k")
    command = cli("run", tiny(), "--engine", "process", artifacts=folder)

    assert command.wait() == 3
    assert f"artifacts cannot be written to {command.folder}: No space left on dev" in command.text
    assert "Traceback" not in command.text
    assert command.left() == []


def test_a_disk_that_fills_up_under_the_artifacts(
    cli: Start, tiny: Write, mounted: Callable[[str], Path]
) -> None:
    folder = mounted("size=4m")
    command = cli("run", tiny(steps=None), "--engine", "process", artifacts=folder)
    command.event("train.step")
    with (folder / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))

    assert command.wait(45) == 1
    assert "No space left on device" in command.text
    result = command.results()
    assert result.verdict == "error"
    assert "No space left on device" in result.scenarios[0].reason
    assert str(folder) in result.scenarios[0].reason
    assert (command.folder / "tiny" / "timeline.jsonl").stat().st_size > 0
    assert command.left() == []
