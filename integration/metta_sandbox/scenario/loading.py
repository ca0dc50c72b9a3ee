"""Scenario files: reading with every fault at its place, writing in full."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from metta_sandbox.errors import InputError, Problem
from metta_sandbox.scenario.expansion import expand
from metta_sandbox.scenario.files import find, read_text
from metta_sandbox.scenario.keys import lies_beside
from metta_sandbox.scenario.model import Cell, Scenario
from metta_sandbox.scenario.names import suggest_key
from metta_sandbox.scenario.overrides import nearest
from metta_sandbox.scenario.problems import describe, dotted
from metta_sandbox.scenario.search import flatten_parameters
from metta_sandbox.scenario.shape import is_meant
from metta_sandbox.scenario.tree import Document, Place, UnreadableError, read
from metta_sandbox.scenario.untrusted import Untrusted
from metta_sandbox.scenario.workload import command_key
from metta_sandbox.skypilot.scenario import WithTask, has_task, with_task
from metta_sandbox.words import many

_NOTHING: Mapping[str, str] = MappingProxyType({})
#: Pydantic's errors that hold whatever a file that could not be read says.
_BY_ITSELF = ("extra_forbidden", "greater_than_equal", "less_than_equal")


@dataclass(frozen=True)
class ScenarioFile:
    """What a file says.

    Args:
        path: Where it is.
        scenarios: One, or one for each cell of its matrix.
        variables: The names of its variables.

    """

    path: Path
    scenarios: tuple[Scenario, ...]
    variables: tuple[str, ...] = ()


def load(path: Path) -> Scenario:
    """Read the scenario of a file that has no matrix.

    Raises:
        InputError: It can't be read, or says something wrong; every problem is listed.

    """
    return parse(read_text(path), path)


def parse(text: str, path: Path) -> Scenario:
    """Read the scenario of a text that has no matrix.

    Args:
        text: The content of a file.
        path: Where it came from, for the messages, and for what it extends.

    Raises:
        InputError: It says something wrong; every problem is listed.

    """
    scenarios = parse_file(text, path).scenarios
    if len(scenarios) > 1:
        raise InputError(f"{path}: expected one scenario, not a matrix of {len(scenarios)}")
    return scenarios[0]


def parse_file(
    text: str,
    path: Path,
    given: Mapping[str, str] = _NOTHING,
    untrusted: Untrusted | None = None,
) -> ScenarioFile:
    """Read all scenarios of a text.

    Args:
        text: The content of a file.
        path: Where it came from, for the messages, and for what it extends.
        given: Variables that the command line sets; those of other files are passed over.
        untrusted: What the files may say, if they are a stranger's.

    Raises:
        InputError: It says something wrong; every problem is listed.

    """
    try:
        document = read(text, str(path))
        found = [(fault.place, fault.message) for fault in document.faults]
        if not isinstance(document.root, MappingNode):
            nothing = "the file is empty; a scenario has a name"
            said = nothing if document.data is None else "expected a mapping, as in `name: basic`"
            raise _refusal(path, [*found, (Place(1, 1), said)])
        expansion = expand(document.root, path, given, os.environ, untrusted)
    except UnreadableError as error:
        raise _refusal(path, [(error.fault.place, error.fault.message)]) from error
    found.extend((fault.place, fault.message) for fault in expansion.faults)
    told = {place for place, _ in found}
    scenarios: list[Scenario] = []
    wrong: dict[tuple[Place, str], list[str]] = {}
    for cell in expansion.cells:
        whole = _with_task(cell, path) if not untrusted else WithTask(cell.data)
        wrong_task = [(cell.locate(keys), f"{dotted(keys)}: {said}") for keys, said in whole.faults]
        for each in wrong_task:
            wrong.setdefault(each, []).append(_cell_id(cell))
        try:
            scenario = Scenario.model_validate(whole.data)
            secrets = {**expansion.secrets, **whole.secrets}
            scenarios.append(scenario.knowing(secrets) if secrets else scenario)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            sure = [each for each in errors if expansion.whole or each["type"] in _BY_ITSELF]
            kept = [each for each in describe(Scenario, sure, cell) if each[0] not in told]
            parameters = _unknown_parameters(cell) if expansion.whole else ()
            for each in {*kept, *parameters}:
                wrong.setdefault(each, []).append(_cell_id(cell))
        if untrusted:
            for each in untrusted.refusals(cell, path):
                wrong.setdefault(each, []).append(_cell_id(cell))
    found.extend(_with_cells(wrong, len(expansion.cells)))
    if found:
        raise _refusal(path, found)
    return ScenarioFile(path, tuple(scenarios), expansion.variables)


def _with_task(cell: Document, path: Path) -> WithTask:
    return with_task(cell.data, path) if has_task(cell.data) else WithTask(cell.data)


def _cell_id(document: Document) -> str:
    """Say which cell of a matrix a document is; in its place, a file may say anything."""
    cell = document.data.get("cell")
    return str(cell.get("id", "")) if isinstance(cell, dict) else ""


def _with_cells(
    wrong: Mapping[tuple[Place, str], list[str]], count: int
) -> Iterator[tuple[Place, str]]:
    """Say of what is wrong in some cells of a matrix alone in which."""
    for (place, message), cells in wrong.items():
        more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
        some = len(cells) < count and cells[0]
        yield place, f"{message} (in {cells[0]}{more})" if some else message


def find_place(path: Path, keys: Sequence[str | int], cell: Cell | None = None) -> Place:
    """Say where a file, or one that it extends, says something; line 0 if that is not to be had.

    Args:
        path: A file that was read before.
        keys: What leads to it, as in ``("workload", "mounts", 0, "source")``.
        cell: Which of its cells says it, if it has a matrix; the first, if that is not to be had.

    """
    try:
        root = read(read_text(path), str(path)).root
        cells = expand(root, path, {}, os.environ).cells if isinstance(root, MappingNode) else ()
    except (InputError, UnreadableError):
        cells = ()
    told = [one for one in cells if cell and _cell_id(one) == cell.id]
    found = [*told, *cells]
    return found[0].locate(keys) if found else Place(0, 0, str(path))


def _silently(_: str) -> None:
    """Tell nobody."""


def load_files(
    paths: Iterable[Path],
    given: Mapping[str, str] = _NOTHING,
    tell: Callable[[str], None] = _silently,
    untrusted: Untrusted | None = None,
) -> tuple[ScenarioFile, ...]:
    """Read all scenario files among files and folders.

    Args:
        paths: The files and folders. What a folder holds that is not meant to be a scenario is left
            out; a file that is named must be one.
        given: Variables that the command line sets, each one of at least one file.
        tell: Gets a line for each file that is left out.
        untrusted: What the files may say, if they are a stranger's.

    Raises:
        InputError: Any of them is wrong (every problem of every file is listed), two scenarios
            have the same name, or no file has a variable that is set.

    """
    files: list[ScenarioFile] = []
    problems: list[Problem] = []
    paths = list(paths)
    left_out: list[Path] = []
    for path in find(paths):
        text = ""
        try:
            text = _text(path, untrusted)
            files.append(parse_file(text, path, given, untrusted))
        except InputError as error:
            if text and path not in paths and not is_meant(text):
                left_out.append(path)
                continue
            problems.extend(error.problems or [Problem(path, 0, 0, error.message)])
    for path in left_out:
        tell(f"{path}: not a scenario (it has no version beside a scenario's keys), left out")
    if left_out and not files and not problems:
        message = f"no scenario among {many(len(left_out), 'YAML file')}"
        raise InputError(message, "a scenario has version: 1 and a name")
    owners: dict[str, Path] = {}
    for file in files:
        for scenario in file.scenarios:
            owner = owners.setdefault(scenario.name, file.path)
            if owner != file.path:
                place, other = find_place(file.path, ["name"]), find_place(owner, ["name"])
                message = f"name: {scenario.name} is also that of {owner}:{other.line}"
                problems.append(Problem(file.path, place.line, place.column, message))
    if problems:
        raise InputError(_count(problems), problems=tuple(problems))
    _refuse_unknown(given, sorted({name for file in files for name in file.variables}))
    return tuple(files)


def _text(path: Path, untrusted: Untrusted | None) -> str:
    if untrusted:
        untrusted.require(path)
    return read_text(path)


def load_all(
    paths: Iterable[Path],
    given: Mapping[str, str] = _NOTHING,
    tell: Callable[[str], None] = _silently,
    untrusted: Untrusted | None = None,
) -> list[tuple[Path, Scenario]]:
    """Read the scenarios of all files, each with its file; see ``load_files``."""
    files = load_files(paths, given, tell, untrusted)
    return [(file.path, scenario) for file in files for scenario in file.scenarios]


def read_settings(words: Iterable[str]) -> dict[str, str]:
    """Read what ``--set`` says: ``name=value``, once each.

    Raises:
        InputError: One says something else.

    """
    given: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name or name in given:
            said = "is set twice" if name in given else "expected name=value"
            raise InputError(f"--set {word}: {said}", "as in: --set steps=4096")
        given[name] = value
    return given


def _refuse_unknown(given: Mapping[str, str], known: list[str]) -> None:
    wrong = []
    for name in given:
        if name not in known:
            near = nearest(name, known)
            end = f"; did you mean {near}?" if near else ""
            wrong.append(f"--set {name}: no scenario file has this variable{end}")
    if wrong:
        hint = f"there are: {', '.join(known)}" if known else "name it under variables in the file"
        raise InputError("\n".join(wrong), hint)


class _Representer(SafeRepresenter):
    """Writes text so that it is read as it was."""

    def text(self, data: str) -> ScalarNode:
        # What else than a line feed ends a line in YAML is read back as one, unless it is escaped.
        style = '"' if any(each in data for each in "\x85\u2028\u2029") else None
        node: ScalarNode = self.represent_scalar("tag:yaml.org,2002:str", data, style=style)
        return node


_Representer.add_representer(str, _Representer.text)


def to_yaml(scenario: Scenario) -> str:
    """Write a scenario with every default filled in; ``parse`` reads the same one back."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    # Folding a line where it has two spaces loses one of them.
    yaml.width = sys.maxsize
    stream = io.StringIO()
    yaml.dump(scenario.model_dump(mode="json"), stream)
    return stream.getvalue()


def _unknown_parameters(document: Document) -> Iterator[tuple[Place, str]]:
    """Check searched keys on their own: Pydantic gets to them only when the sweep is right."""
    sweep = document.data.get("sweep")
    given = sweep.get("parameters") if isinstance(sweep, dict) else None
    workload = document.data.get("workload")
    trainer = workload.get("trainer") if isinstance(workload, dict) else None
    if not isinstance(given, dict) or command_key(trainer):
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
    ordered = sorted(
        set(_shown(path, found)),
        key=lambda pair: (
            pair[0].file != str(path),
            pair[0].file,
            pair[0].line,
            pair[0].column,
            pair[1],
        ),
    )
    problems = [
        Problem(Path(place.file) if place.file else path, place.line, place.column, message)
        for place, message in ordered
    ]
    return InputError(_count(problems), problems=tuple(problems))


def _shown(path: Path, found: Iterable[tuple[Place, str]]) -> Iterator[tuple[Place, str]]:
    """Say of a file that is not the scenario's own only that it is wrong, and where first."""
    told: dict[str, Place] = {}
    own: dict[str, bool] = {}
    for place, message in found:
        name = place.file or str(path)
        if name not in own:
            own[name] = lies_beside(Path(name), path)
        if own[name]:
            yield place, message
        elif name not in told or (place.line, place.column) < (told[name].line, told[name].column):
            told[name] = place
    for place in told.values():
        where = "outside the scenario's folder and repository"
        yield place, f"no part of a scenario; what a file {where} says is not shown"


def _count(problems: Sequence[Problem]) -> str:
    return "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
