"""Text of others stays words, whatever it goes through."""

from __future__ import annotations

import json
import re

import pytest

from metta_sandbox import safe_text

PLAIN = [
    "loss 0.25, accuracy 97 %",
    "naïve café, 你好, привет, नमस्ते, ภาษาไทย, 한국어",
    "می\u200cشود and \u05e9\u05dc\u05d5\u05dd",
    "👩\u200d👩\u200d👧 ❤\ufe0f 🏳\ufe0f\u200d🌈 e\u0301",
    "std::vector<int> at a.cpp:12: error",
    ":param x: what",
    "# a comment, ## two",
    "\tindented\n  twice",
    "10:20:30 C:\\runs\\x1",
    "",
]


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert safe_text.for_runner(text) == text
    assert safe_text.for_xml(text) == safe_text.for_html(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\rb\x00\x08", r"a\rb\x00\x08"),
        ("\x9b31m\x85\x7f", r"\x9b31m\x85\x7f"),
        ("\u202eabc\u2066\u200f", r"\u202eabc\u2066\u200f"),
        ("a\u200bb\ufeff\u2028", r"a\u200bb\ufeff\u2028"),
        ("\ud800 \uffff", r"\ud800 \uffff"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_acts_is_shown_as_an_escape(text: str, shown: str) -> None:
    for make in (safe_text.for_terminal, safe_text.for_runner, safe_text.for_xml):
        assert make(text) == shown
        assert make(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::error::x", r"\x3a:error::x"),
        ("fine\n \u00a0::set-output name=a::b", "fine\n \u00a0\\x3a:set-output name=a::b"),
        ("-- \u200d::stop-commands::x", "-- \u200d\\x3a:stop-commands::x"),
        (":\u200d:error::x", "\\x3a\u200d:error::x"),
        ("x ##[add-mask]y", r"x \x23#[add-mask]y"),
        ("#\ufe0f#[error]", "\\x23\ufe0f#[error]"),
        ("##vso[task.setvariable]", r"\x23#vso[task.setvariable]"),
        ("##teamcity[x]", r"\x23#teamcity[x]"),
        ("###[group]", r"#\x23#[group]"),
    ],
)
def test_no_line_is_a_command(text: str, shown: str) -> None:
    assert safe_text.for_runner(text) == shown
    assert safe_text.for_runner(shown) == shown


def test_json_is_read_back_as_it_was_and_is_no_command() -> None:
    value = {"a": "##[add-mask]x\x1b\u202e", "b": ["::error::"]}
    text = safe_text.for_json(value)
    assert json.loads(text) == value
    assert "##[" not in text
    assert text.isascii()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("![](http://t)", r"!\[\](http:&#8203;//t)"),
        ("@me and a@b.c", "@&#8203;me and a@&#8203;b.c"),
        ("#12, # 12", r"\#&#8203;12, \# 12"),
        ("www.x.org :white_check_mark:", r"www&#8203;.x.org :&#8203;white\_check\_mark:"),
        ("<b>&amp; a|b\n\n# c $x$ `d`", r"\<b\>\&amp; a\|b \# c \$x\$ \`d\`"),
        ("\x1b[1m\r", r"\\x1b\[1m\\r"),
        ("run-1.r.2: 3 of 4 (fine)!", "run-1.r.2: 3 of 4 (fine)!"),
    ],
)
def test_markdown_shows_words_alone(text: str, shown: str) -> None:
    assert safe_text.for_markdown(text) == shown


def test_code_in_markdown_cannot_be_closed_by_what_it_holds() -> None:
    assert safe_text.for_markdown_code("a/b") == "`a/b`"
    assert safe_text.for_markdown_code("a``\n`b") == "``` a`` `b ```"
    assert safe_text.for_markdown_block("````\n::error::x") == (
        "`````text\n````\n\\x3a:error::x\n`````"
    )


@pytest.mark.parametrize("letter", [*"\n:# `@\u200d\x1b", "::a\n", "##a"])
def test_what_it_costs_grows_with_the_text_alone(letter: str) -> None:
    """A pattern that goes back over what it has read would take minutes."""
    text = letter * 20_000
    for make in (safe_text.for_runner, safe_text.for_markdown, safe_text.for_markdown_block):
        assert len(re.sub(r"\s", "", make(text))) >= len(re.sub(r"\s", "", text))
