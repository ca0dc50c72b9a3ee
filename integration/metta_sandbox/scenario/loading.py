"""Scenario files: reading with every fault at its place, writing in full."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.names import suggest_key
from metta_sandbox.scenario.overrides import did_you_mean
from metta_sandbox.scenario.problems import describe, dotted
from metta_sandbox.scenario.search import flatten_parameters
from metta_sandbox.scenario.shape import is_meant
from metta_sandbox.scenario.tree import Document, Place, UnreadableError, read
from metta_sandbox.scenario.untrusted import Untrusted
from metta_sandbox.scenario.workload import command_key
from metta_sandbox.skypilot.scenario import WithTask, has_task, with_task
from metta_sandbox.words import many

_NOTHING: Mapping[str, str] = MappingProxyType({})
_NOWHERE = Document(None, None, ())
#: Pydantic's errors that hold whatever a file that could not be read says.
_BY_ITSELF = ("extra_forbidden", "greater_than_equal", "less_than_equal")


@dataclass(frozen=True)
class Loaded:
    """A scenario as it was read.

    Args:
        scenario: What is to be played.
        file: Where it was read from.
        document: Where that file, or one that it extends, says what. Empty for a scenario that
            nobody wrote into a file.

    """

    scenario: Scenario
    file: Path
    document: Document = field(default=_NOWHERE, repr=False)

    def locate(self, keys: Sequence[str | int]) -> Place:
        """Say where the file says something; line 0 if it has no places.

        Args:
            keys: What leads to it, as in ``("workload", "mounts", 0, "source")``.

        """
        if self.document.root is None:
            return Place(0, 0, str(self.file))
        return self.document.locate(keys)

    def problem(self, keys: Sequence[str | int], message: str) -> Problem:
        """Say that something is wrong where the file says it."""
        return self.locate(keys).problem(message)


@dataclass(frozen=True)
class ScenarioFile:
    """What a file says.

    Args:
        path: Where it is.
        loaded: Its scenario, or one for each cell of its matrix.
        variables: The names of its variables.

    """

    path: Path
    loaded: tuple[Loaded, ...]
    variables: tuple[str, ...] = ()

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """The scenarios alone."""
        return tuple(one.scenario for one in self.loaded)


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
        found = list(document.faults)
        if not isinstance(document.root, MappingNode):
            nothing = "the file is empty; a scenario has a name"
            said = nothing if document.data is None else "expected a mapping, as in `name: basic`"
            raise _refusal(path, [*found, Problem(path, 1, 1, said)])
        expansion = expand(document.root, path, given, os.environ, untrusted)
    except UnreadableError as error:
        raise _refusal(path, [error.problem]) from error
    found.extend(expansion.faults)
    told = {each.place for each in found}
    loaded: list[Loaded] = []
    wrong: dict[Problem, list[str]] = {}
    for cell in expansion.cells:
        whole = _with_task(cell, path) if not untrusted else WithTask(cell.data)
        for keys, said in whole.faults:
            problem = cell.locate(keys).problem(f"{dotted(keys)}: {said}")
            wrong.setdefault(problem, []).append(_cell_id(cell))
        try:
            scenario = Scenario.model_validate(whole.data)
            secrets = {**expansion.secrets, **whole.secrets}
            loaded.append(Loaded(scenario.knowing(secrets), path, cell))
        except ValidationError as error:
            errors = error.errors(include_url=False)
            sure = [each for each in errors if expansion.whole or each["type"] in _BY_ITSELF]
            kept = [each for each in describe(Scenario, sure, cell) if each.place not in told]
            parameters = _unknown_parameters(cell) if expansion.whole else ()
            for each in {*kept, *parameters}:
                wrong.setdefault(each, []).append(_cell_id(cell))
        if untrusted:
            for each in untrusted.refusals(cell, path):
                wrong.setdefault(each, []).append(_cell_id(cell))
    found.extend(_with_cells(wrong, len(expansion.cells)))
    if found:
        raise _refusal(path, found)
    return ScenarioFile(path, tuple(loaded), expansion.variables)


def _with_task(cell: Document, path: Path) -> WithTask:
    return with_task(cell.data, path) if has_task(cell.data) else WithTask(cell.data)


def _cell_id(document: Document) -> str:
    """Say which cell of a matrix a document is; in its place, a file may say anything."""
    cell = document.data.get("cell")
    return str(cell.get("id", "")) if isinstance(cell, dict) else ""


def _with_cells(wrong: Mapping[Problem, list[str]], count: int) -> Iterator[Problem]:
    """Say of what is wrong in some cells of a matrix alone in which."""
    for problem, cells in wrong.items():
        more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
        some = len(cells) < count and cells[0]
        told = f"{problem.message} (in {cells[0]}{more})"
        yield replace(problem, message=told) if some else problem


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
    owners: dict[str, Loaded] = {}
    for one in (one for file in files for one in file.loaded):
        owner = owners.setdefault(one.scenario.name, one)
        if owner.file != one.file:
            where = f"{owner.file}:{owner.locate(['name']).line}"
            problems.append(
                one.problem(["name"], f"name: {one.scenario.name} is also that of {where}")
            )
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
) -> list[Loaded]:
    """Read the scenarios of all files; see ``load_files``."""
    return [one for file in load_files(paths, given, tell, untrusted) for one in file.loaded]


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
    wrong = [
        f"--set {name}: no scenario file has this variable{did_you_mean(name, known)}"
        for name in given
        if name not in known
    ]
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


def _unknown_parameters(document: Document) -> Iterator[Problem]:
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
            yield document.locate(path, key=True).problem(f"{'.'.join(path)}: {message}")


def _refusal(path: Path, found: Iterable[Problem]) -> InputError:
    problems = sorted(
        set(_shown(path, found)), key=lambda each: (each.file != path, *each.place, each.message)
    )
    return InputError(_count(problems), problems=tuple(problems))


def _shown(path: Path, found: Iterable[Problem]) -> Iterator[Problem]:
    """Say of a file that is not the scenario's own only that it is wrong, and where first."""
    first: dict[Path, Problem] = {}
    own: dict[Path, bool] = {}
    for problem in found:
        file = problem.file
        if file not in own:
            own[file] = lies_beside(file, path)
        if own[file]:
            yield problem
        elif file not in first or problem.place < first[file].place:
            first[file] = problem
    where = "outside the scenario's folder and repository"
    said = f"no part of a scenario; what a file {where} says is not shown"
    yield from (replace(problem, message=said) for problem in first.values())


def _count(problems: Sequence[Problem]) -> str:
    return "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
