"""The token file: read, chosen from, and never quoted."""

from __future__ import annotations

from pathlib import Path

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.observatory_tokens import Tokens, read_tokens

SECRET = "sEcReT-0123"


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "observatory_tokens.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_token_is_known_after_the_server_that_gave_it_out(tmp_path: Path) -> None:
    tokens = read_tokens(write(tmp_path, f"https://observatory.example.org/api: {SECRET}\n"))

    assert tokens.user(SECRET) == "sandbox@observatory.example.org"
    assert tokens.user("other") is None
    assert tokens.user(None) is None
    assert SECRET not in repr(tokens)


def test_a_token_of_digits_keeps_its_zeros(tmp_path: Path) -> None:
    assert read_tokens(write(tmp_path, "https://a: 0012\n")).user("0012")


def test_an_empty_file_knows_nobody(tmp_path: Path) -> None:
    assert read_tokens(write(tmp_path, "")) == Tokens()


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("https://one.example.org/", "first"),
        ("https://two.example.org", "second"),
        ("http://dummy-api:8080", "first"),
        ("http://127.3.2.1:8080", "first"),
        ("https://three.example.org", None),
        ("http://10.0.0.1", None),
    ],
)
def test_a_token_goes_to_its_server_or_to_the_stand_in(url: str, token: str | None) -> None:
    tokens = Tokens({"https://one.example.org": "first", "https://two.example.org": "second"})

    assert tokens.for_url(url) == token


def test_without_tokens_the_stand_in_gets_none() -> None:
    assert Tokens().for_url("http://dummy-api:8080") is None


@pytest.mark.parametrize(
    "text",
    [
        f"https://a: {SECRET}\nhttps://a: {SECRET}\n",
        f"https://a: [{SECRET}\n",
        f"https://a: *{SECRET}\n",
        f"{SECRET}: https://a\n",
        f"- {SECRET}\n",
        SECRET,
        f"https://a: {{token: {SECRET}}}\n",
        f"https://a: {SECRET} and more\n",
        f'https://a: "{SECRET}\\n"\n',
        b"https://a: \xff" + SECRET.encode(),
    ],
)
def test_a_bad_file_is_refused_without_quoting_it(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(InputError) as caught:
        read_tokens(write(tmp_path, text))

    message = str(caught.value)
    assert "observatory_tokens.yaml" in message
    assert SECRET not in message
    assert caught.value.__cause__ is None


def test_the_line_of_a_mistake_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"observatory_tokens\.yaml:2:"):
        read_tokens(write(tmp_path, "https://a: b\nhttps://a: c\n"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.yaml: .*No such file"):
        read_tokens(tmp_path / "absent.yaml")
