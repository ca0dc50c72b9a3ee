"""What nodes ask their index for is answered, noted, and told where it can't be had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from metta_sandbox.image.package_source import Fetched, LackingError, PackageSource
from metta_sandbox.play.packages import FILE_NAME, PackageDesk
from metta_sandbox.services.packages import answers
from metta_sandbox.services.packages.answers import Answer, ListedFile
from metta_sandbox.timeline.recording import Event
from metta_sandbox.verdict import Verdict

WHEEL = "mine-1-py3-none-any.whl"


class Source:
    """Has one package."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.asked: list[str] = []

    def listed(self, name: str, *, gpu: bool) -> tuple[ListedFile, ...]:
        assert not gpu
        self.asked.append(name)
        if name != "mine":
            raise LackingError("no index has it")
        return (ListedFile(WHEEL),)

    def fetch(self, name: str, file: str, *, gpu: bool) -> Fetched:
        self.listed(name, gpu=gpu)
        (self._folder / file).write_bytes(b"wheel")
        return Fetched(self._folder / file, "ab" * 32, 5, fresh=True)


class Stack:
    """A desk with one package, and the index that asks it."""

    def __init__(self, folder: Path, allowed: frozenset[str] | None = None) -> None:
        self.folder, self.source = folder / "answers", Source(folder)
        self.folder.mkdir()
        self.told: list[str] = []
        self._questions = 0
        source = cast("PackageSource", self.source)
        self.desk = PackageDesk(source, self.folder, self.told.append, allowed=allowed)
        self.desk.attend()

    def ask(self, package: str, file: str | None = None) -> Answer:
        self._questions += 1
        question = f"{self._questions:016x}"
        fields: dict[str, Any] = {"question": question, "package": package, "file": file}
        self.desk.take(Event(0.0, {"event": "package.asked", **fields}))
        while not (answer := answers.read_answer(self.folder, question)):
            pass
        return answer


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path)


def test_files_lie_where_the_index_finds_them(stack: Stack) -> None:
    assert stack.ask("mine").listed == (ListedFile(WHEEL),)
    for _ in range(2):
        answer = stack.ask("mine", WHEEL)
        assert (stack.folder / answer.place).read_bytes() == b"wheel"


def test_what_was_asked_for_stands_in_the_artifacts(stack: Stack, tmp_path: Path) -> None:
    stack.ask("mine")
    stack.ask("mine", WHEEL)
    stack.ask("gone")
    stack.desk.close(tmp_path)

    told = json.loads((tmp_path / FILE_NAME).read_text())
    file = {"file": WHEEL, "sha256": "ab" * 32, "bytes": 5}
    assert told == [
        {"package": "mine", "files": [file]},
        {"package": "gone", "lacks": "no index has it", "files": []},
    ]
    assert answers.attended_since(stack.folder) is None


def test_the_report_says_what_could_not_be_had(stack: Stack) -> None:
    assert stack.desk.result() is None
    stack.ask("mine")
    plain = stack.desk.result()
    stack.ask("gone")
    stack.ask("gone")
    result = stack.desk.result()

    assert plain is not None
    assert plain.warning == ""
    assert result is not None
    assert result.verdict is Verdict.PASSED
    assert result.warning == "packages that could not be had: gone: no index has it"
    assert stack.told == ["package gone can't be had: no index has it"]


def test_nobody_hears_of_a_name_that_was_not_reviewed(tmp_path: Path) -> None:
    stack = Stack(tmp_path, frozenset({"mine"}))

    assert stack.ask("mine").lacks == ""
    assert stack.ask("secret-in-a-name").lacks.startswith("--untrusted: ")
    assert stack.source.asked == ["mine"]


def test_nothing_is_left_without_a_question(stack: Stack, tmp_path: Path) -> None:
    stack.desk.close(tmp_path)
    stack.desk.take(Event(0.0, {"event": "package.asked", "question": "x", "package": "mine"}))
    assert not (tmp_path / FILE_NAME).exists()
