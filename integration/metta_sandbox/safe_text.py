r"""Text of others, made safe for each place it goes to.

Text of others is whatever a node, a trainer, a package, an engine or a file says: lines,
exceptions, names of runs and files, overrides, requests. A terminal, a CI runner, Markdown and a
browser take some of it for more than words. Every such text goes out through the function that is
named after where it goes:

- ``for_terminal``: text that is shown as it is, and nothing else is done about it;
- ``for_console``: all that this program prints, for a CI runner may read it; without secrets;
- ``for_runner``: what people print in a job (``timeline.log``);
- ``for_json``: JSON that this program prints; without secrets;
- ``for_markdown``, ``for_markdown_code``, ``for_markdown_block``: ``summary.md``;
- ``for_xml``: ``junit.xml``; ``for_html``: ``report.html``.

A character that acts becomes an escape as Python writes it (``\x1b``, ``\r``, ``\u202e``); all
other Unicode stays. What was escaped once is not escaped again. Files for programs
(``results.json``, ``timeline.jsonl``) and copies of logs keep the text itself.
"""

from __future__ import annotations

import json
import re
from typing import Any

from metta_sandbox.masking import masked, masked_data

#: Controls but for tab and newline, marks that turn the direction of text round, what can't be
#: seen, and what is no character. Joiners stay: Persian, and many emoji, are written with them.
_ACTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
#: What a comparison of strings may pass over: accents and joiners without a letter.
_NOTHING = r"[^\w\s!-~]*"
#: A line that begins with ``::``. Runners trim what is before it, each in its own way.
_COMMAND = re.compile(rf"([^\w:]*):(?={_NOTHING}:)")
#: ``##[error]`` (GitHub, anywhere in a line), ``##vso[`` (Azure), ``##teamcity[``.
_OLD_COMMAND = re.compile(rf"#(?={_NOTHING}#{_NOTHING}[A-Za-z]*\[)")
#: What Markdown, the HTML in it, or GitHub (links, mentions, emoji, mathematics) takes for more
#: than letters. The former is escaped with a backslash; the latter needs something between.
_MARKUP = re.compile(r"[\\`*_\[\]<>#|~&$]|@|:(?=//|[\w+-]+:)|\bwww(?=\.)", re.IGNORECASE)
_LINKING = frozenset("@:wW")
_NARROW = "&#8203;"
_BACKTICKS = re.compile("`+")


def for_terminal(text: str) -> str:
    """Let a terminal show text, and do nothing that it says. Newlines and tabs stay."""
    return text if text.isprintable() else _ACTIVE.sub(_escape, text)


def for_runner(text: str) -> str:
    """Let a terminal or the log of a CI runner show text; no line of it is a command to either."""
    text = for_terminal(text)
    if text.isascii() and "::" not in text and "##" not in text:
        return text  # nearly all of what is printed, and a trainer may print very much
    return _OLD_COMMAND.sub(r"\\x23", "\n".join(map(_disarm, text.split("\n"))))


def for_console(text: str) -> str:
    """Hide the secrets in text, and then write it as ``for_runner`` does."""
    return for_runner(masked(text))


def for_json(value: Any) -> str:
    """Write JSON without secrets, of which no runner takes a line for a command.

    Programs read the text itself.
    """
    return _OLD_COMMAND.sub(r"\\u0023", json.dumps(masked_data(value), indent=2))


def for_xml(text: str) -> str:
    """Write text so that XML can carry it. Markup in it is escaped by who writes the XML."""
    return for_terminal(text)


def for_html(text: str) -> str:
    """Write text so that a page shows it. Markup in it is escaped by who writes the page."""
    return for_terminal(text)


def for_markdown(text: str) -> str:
    """Write text within a line of Markdown: no markup, links, mentions or emoji.

    A zero-width space stands in what GitHub would make a link or a mention of, also if escaped.
    """
    return _MARKUP.sub(_inert, " ".join(for_runner(text).split()))


def for_markdown_code(text: str) -> str:
    """Write text as code within a line of Markdown."""
    text = " ".join(for_runner(text).split())
    fence = _fence(text, 1)
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def for_markdown_block(text: str) -> str:
    """Write text as a block of code in Markdown, with its lines."""
    text = for_runner(text)
    fence = _fence(text, 3)
    return f"{fence}text\n{text}\n{fence}"


def _fence(text: str, shortest: int) -> str:
    longest = max(map(len, _BACKTICKS.findall(text)), default=0)
    return "`" * max(shortest, 1 + longest)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _disarm(line: str) -> str:
    found = _COMMAND.match(line)
    return line if found is None else f"{found[1]}\\x3a{line[found.end() :]}"


def _inert(match: re.Match[str]) -> str:
    found, after = match[0], match.string[match.end() : match.end() + 1]
    if found[0] in _LINKING:
        return found + _NARROW
    return f"\\{found}{_NARROW if found == '#' and after.isalnum() else ''}"
