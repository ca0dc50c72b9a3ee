"""The stack's package index: what it asks, and what it serves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from metta_sandbox.node.agent.events import KnownEvent
from metta_sandbox.services.packages import answers
from metta_sandbox.services.packages.answers import Answer, ListedFile, package_name
from metta_sandbox.services.packages.index import create_index

WHEEL = ListedFile("a_b-1.0-py3-none-any.whl", "ab" * 32, ">=3.9", None, has_metadata=True)
OLD = ListedFile("a_b-0.1.tar.gz", yanked="it's <broken>")


class Harness:
    """Answers as the harness does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.asked: list[tuple[object, object]] = []

    async def tell(self, event: KnownEvent) -> None:
        said = event.record()
        self.asked.append((said["package"], said["file"]))
        answer = Answer(listed=(WHEEL, OLD))
        if said["package"] == "gone":
            answer = Answer(lacks="no index has it")
        elif said["file"]:
            (self._folder / answers.FILES / "x").write_bytes(b"content")
            answer = Answer(place=f"{answers.FILES}/x")
        answers.write_answer(self._folder, said["question"], answer)


def get_all(folder: Path, *paths: str) -> tuple[list[httpx.Response], Harness]:
    """Ask for several at once."""
    harness = Harness(folder)

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_index(folder, harness.tell))
        async with httpx.AsyncClient(transport=transport, base_url="http://index") as client:
            return await asyncio.gather(*map(client.get, paths))

    return asyncio.run(ask()), harness


def get(folder: Path, path: str) -> tuple[httpx.Response, Harness]:
    (answer,), harness = get_all(folder, path)
    return answer, harness


def test_a_page_lists_what_the_harness_says(tmp_path: Path) -> None:
    answers.attend(tmp_path)
    page, harness = get(tmp_path, "/simple/A.B/")

    assert harness.asked == [("a-b", None)]
    assert f'href="/files/a-b/{WHEEL.file}#sha256={WHEEL.sha256}"' in page.text
    assert 'data-requires-python="&gt;=3.9"' in page.text
    assert 'data-core-metadata="true"' in page.text
    assert 'data-yanked="it&#x27;s &lt;broken&gt;"' in page.text


def test_a_file_is_given_as_it_is(tmp_path: Path) -> None:
    answers.attend(tmp_path)
    file, harness = get(tmp_path, f"/files/a-b/{WHEEL.file}")

    assert (file.status_code, file.content) == (200, b"content")
    assert harness.asked == [("a-b", WHEEL.file)]


def test_what_several_nodes_want_is_asked_once(tmp_path: Path) -> None:
    answers.attend(tmp_path)
    path = f"/files/a-b/{WHEEL.file}"
    given, harness = get_all(tmp_path, path, path, "/simple/a-b/", path)

    assert {each.status_code for each in given} == {200}
    assert sorted(harness.asked, key=str) == [("a-b", WHEEL.file), ("a-b", None)]


def test_what_cannot_be_had_is_not_found_and_says_why(tmp_path: Path) -> None:
    answers.attend(tmp_path)
    page, _ = get(tmp_path, "/simple/gone/")

    assert (page.status_code, page.text) == (404, "gone: no index has it\n")


def test_nobody_is_asked_where_nobody_answers(tmp_path: Path) -> None:
    answers.attend(tmp_path)
    answers.leave(tmp_path)
    page, harness = get(tmp_path, "/simple/a/")

    assert page.status_code == 404
    assert "nobody answers" in page.text
    assert harness.asked == []


@pytest.mark.parametrize(
    "path",
    ["/simple/-a/", "/simple/a%20b/", f"/simple/{'a' * 200}/", "/files/a/.hidden", "/files/a/x%0A"],
)
def test_what_is_no_name_is_asked_of_nobody(tmp_path: Path, path: str) -> None:
    answers.attend(tmp_path)
    page, harness = get(tmp_path, path)

    assert page.status_code == 404
    assert harness.asked == []


def test_answers_are_read_as_they_were_written(tmp_path: Path) -> None:
    answers.attend(tmp_path)
    answer = Answer(listed=(WHEEL, OLD))

    assert answers.read_answer(tmp_path, "ab" * 8) is None
    answers.write_answer(tmp_path, "ab" * 8, answer)
    assert answers.read_answer(tmp_path, "ab" * 8) == answer
    answers.leave(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [answers.FILES]


@pytest.mark.parametrize("question", ["", "../../x", "AB" * 8, "ab" * 9])
def test_an_answer_goes_nowhere_else(tmp_path: Path, question: str) -> None:
    with pytest.raises(ValueError, match="no question"):
        answers.write_answer(tmp_path, question, Answer())


def test_names_are_normalised_as_indexes_do() -> None:
    assert package_name("Foo__Bar.baz") == "foo-bar-baz"
