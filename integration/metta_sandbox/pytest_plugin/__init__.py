"""A pytest plugin: scenario files are tests, each cell of a matrix one of its own.

Every pytest of an environment that has the package imports this, so it imports next to nothing:
all else comes with the first file that looks like a scenario.
"""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from metta_sandbox.pytest_plugin.items import ScenarioFileCollector

#: Bytes that are looked at; a scenario file is never larger.
_MOST = 256 * 1024
_SUFFIXES = (".yaml", ".yml")
#: Keys of the file itself, not of something in it.
_VERSION = re.compile(rb"^version\s*:\s*1\s*(#.*)?$", re.MULTILINE)
_NAME = re.compile(rb"^name\s*:", re.MULTILINE)
_EXTENDS = re.compile(rb"^extends\s*:.*\.ya?ml\b", re.MULTILINE)
#: How the folder of a run is called.
_RUN = re.compile(r"\d{8}T\d{6}-[0-9a-f]{4}|latest")
#: What a session's runs came to, as lines: told at its end, and by a worker to its controller.
LINES = pytest.StashKey[list[str]]()
#: Under which a worker of pytest-xdist sends them.
OUTPUT = "metta_sandbox"


def _engine(name: str) -> str:
    if name != "auto":
        from metta_sandbox.stack.engines import ENGINES  # noqa: PLC0415

        if name not in ENGINES:
            known = ", ".join(["auto", *ENGINES])
            raise ArgumentTypeError(f"invalid choice: {name!r} (choose from {known})")
    return name


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, named after those of ``metta-sandbox run``."""
    group = parser.getgroup("metta-sandbox", "scenarios of metta-sandbox")
    group.addoption(
        "--sandbox-engine",
        type=_engine,
        default="auto",
        help="what scenarios are played on (default: auto)",
    )
    group.addoption(
        "--sandbox-artifacts",
        metavar="DIR",
        default="artifacts",
        help="where their artifacts go (default: artifacts)",
    )
    group.addoption(
        "--sandbox-set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="give a variable of theirs a value",
    )
    group.addoption(
        "--sandbox-source",
        metavar="DIR",
        help="a working copy that every node sees live, as its working folder",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse options that make no sense, before anything is collected."""
    if config.getoption("--sandbox-set") or config.getoption("--sandbox-source"):
        from metta_sandbox.pytest_plugin.playing import Playing  # noqa: PLC0415 - see above

        Playing.of(config)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Pass over what runs have left: the files in there are copies."""
    if _RUN.fullmatch(collection_path.name) and (collection_path / "environment.json").is_file():
        return True
    return None


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ScenarioFileCollector | None:
    """Collect a file that looks like a scenario; all other files are left alone."""
    if file_path.suffix not in _SUFFIXES or _is_passed_over(file_path, parent.session):
        return None
    if not _looks_like_scenario(file_path):
        return None
    from metta_sandbox.pytest_plugin.items import ScenarioFileCollector  # noqa: PLC0415 - see above

    return ScenarioFileCollector.from_parent(parent, path=file_path)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take note of what a worker of pytest-xdist has played."""
    told = getattr(node, "workeroutput", {}).get(OUTPUT, [])
    node.config.stash.setdefault(LINES, []).extend(told)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say where the artifacts are, if a scenario was played."""
    if lines := config.stash.get(LINES, []):
        terminalreporter.section("metta-sandbox")
        for line in lines:
            terminalreporter.line(line)


def _is_passed_over(file: Path, session: pytest.Session) -> bool:
    """Tell whether a file is there to be extended only, as its name or a folder's says.

    What the command line names is not, nor what holds it.
    """
    for part in (file, *file.parents):
        if session.isinitpath(part):
            return False
        if part.name.startswith(("_", ".")):
            return True
    return False


def _looks_like_scenario(path: Path) -> bool:
    """Tell whether a file has the keys that a scenario must have, at its top level."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST).removeprefix(b"\xef\xbb\xbf")
    except OSError:
        return False
    if _VERSION.search(text):
        return bool(_NAME.search(text) or _EXTENDS.search(text))
    return bool(_NAME.search(text) and _EXTENDS.search(text))
