"""Scenario files: finding, reading with every fault at its place, writing in full."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML

from metta_sandbox.errors import InputError, Problem
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.names import suggest_key
from metta_sandbox.scenario.problems import describe
from metta_sandbox.scenario.search import flatten_parameters
from metta_sandbox.scenario.tree import Document, Place, UnreadableError, read

#: Bytes. Scenarios are a page long; parsing is slow enough that more is surely a mistake.
LARGEST_FILE = 256 * 1024
SUFFIXES = (".yaml", ".yml")


def load(path: Path) -> Scenario:
    """Read a scenario file.

    Raises:
        InputError: It can't be read, or says something wrong; every problem is listed.

    """
    return parse(_text(path), path)


def parse(text: str, path: Path) -> Scenario:
    """Read a scenario from the text of a file.

    Args:
        text: Its content.
        path: Where it came from, for the messages.

    Raises:
        InputError: It says something wrong; every problem is listed.

    """
    try:
        document = read(text)
    except UnreadableError as error:
        raise _refusal(path, [(error.fault.place, error.fault.message)]) from error
    found = [(fault.place, fault.message) for fault in document.faults]
    if document.data is None:
        raise _refusal(path, [*found, (Place(1, 1), "the file is empty; a scenario has a name")])
    if not isinstance(document.data, dict):
        raise _refusal(path, [*found, (Place(1, 1), "expected a mapping, as in `name: basic`")])
    try:
        scenario = Scenario.model_validate(document.data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        told = {place for place, _ in found}
        described = describe(Scenario, errors, document)
        found.extend((place, message) for place, message in described if place not in told)
        found.extend(_unknown_parameters(document))
    if found:
        raise _refusal(path, found)
    return scenario


def find(paths: Iterable[Path]) -> list[Path]:
    """List the scenario files among paths: files as given, folders with all below them, sorted.

    Raises:
        InputError: A path doesn't exist, isn't YAML by its name, or a folder holds no scenario.

    """
    found: list[Path] = []
    wrong: list[str] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
            found.extend(inside)
            if not inside:
                wrong.append(f"{path}: no scenario files (*.yaml, *.yml) in this folder")
        elif not path.exists():
            wrong.append(f"{path}: no such file or folder")
        elif path.suffix not in SUFFIXES:
            wrong.append(f"{path}: expected a name that ends in .yaml or .yml")
        else:
            found.append(path)
    if wrong:
        raise InputError("\n".join(wrong), "name scenario files, or folders that hold some")
    return list(dict.fromkeys(found))


def load_all(paths: Iterable[Path]) -> list[tuple[Path, Scenario]]:
    """Read all scenario files among files and folders.

    Raises:
        InputError: Any of them is wrong (every problem of every file is listed), or two have the
            same name.

    """
    loaded: list[tuple[Path, Scenario]] = []
    problems: list[Problem] = []
    for path in find(paths):
        try:
            loaded.append((path, load(path)))
        except InputError as error:
            problems.extend(error.problems or [Problem(path, 0, 0, error.message)])
    owners: dict[str, Path] = {}
    for path, scenario in loaded:
        owner = owners.setdefault(scenario.name, path)
        if owner != path:
            problems.append(Problem(path, 0, 0, f"name: {scenario.name} is also that of {owner}"))
    if problems:
        raise InputError(_count(problems), problems=tuple(problems))
    return loaded


def to_yaml(scenario: Scenario) -> str:
    """Write a scenario with every default filled in; ``parse`` reads the same one back."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 100
    stream = io.StringIO()
    yaml.dump(scenario.model_dump(mode="json"), stream)
    return stream.getvalue()


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", "is the path right?") from error
    if len(content) > LARGEST_FILE:
        message = f"larger than {LARGEST_FILE // 1024} KiB; is this a scenario?"
        raise _refusal(path, [(Place(1, 1), message)])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        place = Place(before.count(b"\n") + 1, len(before) - before.rfind(b"\n"))
        message = f"not UTF-8: byte 0x{content[error.start]:02x}; save the file as UTF-8"
        raise _refusal(path, [(place, message)]) from error


def _unknown_parameters(document: Document) -> Iterator[tuple[Place, str]]:
    """Check searched keys on their own: Pydantic gets to them only when the sweep is right."""
    sweep = document.data.get("sweep")
    given = sweep.get("parameters") if isinstance(sweep, dict) else None
    if not isinstance(given, dict):
        return
    try:
        keys = list(flatten_parameters(given))
    except PydanticCustomError:  # told already
        return
    for key in keys:
        if message := suggest_key(key):
            path = ("sweep", "parameters", key)
            yield document.locate(path, key=True), f"{'.'.join(path)}: {message}"


def _refusal(path: Path, found: Iterable[tuple[Place, str]]) -> InputError:
    ordered = sorted(set(found), key=lambda pair: (pair[0].line, pair[0].column, pair[1]))
    problems = [Problem(path, place.line, place.column, message) for place, message in ordered]
    return InputError(_count(problems), problems=tuple(problems))


def _count(problems: Sequence[Problem]) -> str:
    return "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
