"""The one-off sweep: ``sweep run=test trainer.total_timesteps=50 +hardware=macbook``."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from metta_sandbox.errors import InputError
from metta_sandbox.play.options import Options
from metta_sandbox.progress import Progress
from metta_sandbox.scenario.loading import Loaded
from metta_sandbox.scenario.loading import parse as parse_scenario
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.overrides import Override, nearest, parse_all
from metta_sandbox.scenario.overrides import format as format_override
from metta_sandbox.scenario.search import Choice, Range
from metta_sandbox.stack.standing_record import StandingRecord, find_record

#: What a sweep searches when the command line names nothing.
_PARAMETERS = {
    "trainer.optimizer.learning_rate": {
        "distribution": "log_normal",
        "min": 0.0001,
        "max": 0.01,
        "mean": 0.003,
    }
}
#: What a searched parameter is told by.
_PARTS = {*Range.model_fields, *Choice.model_fields}
_EXAMPLE = "metta-sandbox launch sweep run=test trainer.total_timesteps=50"


#: Flags by which a trainer that uses Hydra finds its config, each with a word behind it.
_FLAGS = frozenset(("--config-name", "-cn", "--config-path", "-cp", "--config-dir", "-cd"))


def part_flags(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Part a launch's words from Hydra's own flags, which are its trainer's.

    Raises:
        InputError: There is a flag that Hydra does not have, or one without its word.

    """
    rest, flags = [], []
    left = iter(words)
    for word in left:
        name, equals, _ = word.partition("=")
        if not word.startswith("-"):
            rest.append(word)
            continue
        if name not in _FLAGS:
            raise InputError(f"no such option: {name}", "metta-sandbox launch --help lists them")
        flags.append(word)
        if not equals:
            if (value := next(left, None)) is None:
                raise InputError(f"{word} needs a name behind it", f"{word}=NAME")
            flags.append(value)
    return tuple(rest), tuple(flags)


def prepare_launch(
    options: Options, nodes: int | None, trainer: Sequence[str], warn: Progress
) -> tuple[Options, StandingRecord | None]:
    """Make a scenario of a launch's command line, for the standing stack if it suits that.

    Args:
        options: What the command line says.
        nodes: How many nodes take part; None: as many as stand, or else two.
        trainer: What each rank runs in place of the bundled trainer.
        warn: Gets a line on why the standing stack is not used, if one is up.

    Returns:
        The options with the scenario, and the standing stack, if that is used.

    Raises:
        InputError: The command line is no launch.

    """
    standing = find_record()
    count = nodes or (len(standing.hosts) if standing else 2)
    scenario = read_launch(options.words, count, trainer, options.requirements)
    if standing and (
        reason := standing.misfit(
            engine=options.engine,
            nodes=scenario.nodes,
            hardware=scenario.hardware,
            source=options.source,
            credentials=options.credentials,
        )
    ):
        warn(f"not using the standing stack: {reason}")
        standing = None
    given = (Loaded(scenario, Path("launch")),)
    words = part_flags(options.words)[0]
    return replace(options, given=given, words=words, standing=standing is not None), standing


def read_launch(
    words: Sequence[str],
    nodes: int,
    trainer: Sequence[str] = (),
    requirements: Path | None = None,
) -> Scenario:
    """Make a scenario of a launch's command line.

    Args:
        words: ``sweep run=NAME key=value … +hardware=macbook``, and Hydra's flags for a trainer.
        nodes: How many nodes take part.
        trainer: What each rank runs in place of the bundled trainer; any key is then let through.
        requirements: A requirements file of what that imports.

    Raises:
        InputError: A word is no override, ``run=`` is missing, or a key is unknown: all at once.

    """
    words, flags = part_flags(words)
    if flags and not trainer:
        raise InputError(
            f"the bundled trainer has no configs of Hydra's for {flags[0]}",
            'name one of yours: --trainer "python train.py"',
        )
    if not words or words[0] != "sweep":
        found = f", not {words[0]!r}" if words else ""
        raise InputError(f"a launch begins with `sweep`{found}", _EXAMPLE)
    overrides = parse_all(words[1:])
    named = {override.key: override for override in overrides}
    run = named.get("run")
    if run is None or not isinstance(run.value, str) or run.op == "~":
        near = nearest("run", [key for key in named if "." not in key])
        found = f" (there is {near}=)" if near else ""
        raise InputError(f"run=NAME, the sweep's name, is missing{found}", _EXAMPLE)
    return _scenario(run.value, nodes, overrides, (*trainer, *flags), requirements)


def _scenario(
    run: str,
    nodes: int,
    overrides: Sequence[Override],
    trainer: Sequence[str],
    requirements: Path | None,
) -> Scenario:
    searched = any(override.key.startswith("sweep.parameters") for override in overrides)
    sweep: dict[str, Any] = {"parameters": {} if searched else _PARAMETERS}
    settings = []
    data: dict[str, Any] = {
        "version": 1,
        "name": _slug(run),
        "nodes": nodes,
        "sweep": sweep,
    }
    sweep["name"] = run
    for override in overrides:
        if override.key == "run":
            continue
        if override.key in {"hardware", "seed"}:
            data[override.key] = override.value
        elif override.key.startswith("sweep."):
            _set(sweep, override.key.split(".")[1:], override)
        else:
            settings.append(format_override(override))
    data["workload"] = {"trainer": {"command": list(trainer), "overrides": settings}}
    if requirements is not None:
        data["workload"]["requirements"] = str(requirements.resolve())
    text = io.StringIO()
    YAML(typ="safe", pure=True).dump(data, text)
    try:
        return parse_scenario(text.getvalue(), Path("launch"))
    except InputError as error:
        # Lines of a file that nobody wrote would only puzzle.
        said = "\n".join(_without_place(problem.message) for problem in error.problems)
        raise InputError(said or error.message, _EXAMPLE) from None


def _set(sweep: dict[str, Any], path: Sequence[str], override: Override) -> None:
    target = sweep
    if path[0] == "parameters" and len(path) > 1:
        # Below `parameters`, dots belong to the trainer's key, but for a last word such as `min`.
        parameters = target["parameters"]
        *key, last = path[1:]
        if key and last in _PARTS:
            target, path = parameters.setdefault(".".join(key), {}), (last,)
        else:
            target, path = parameters, (".".join(path[1:]),)
    if override.op == "~":
        target.pop(path[0], None)
    else:
        target[".".join(path)] = override.value


def _without_place(message: str) -> str:
    return re.sub(r"^workload\.trainer\.overrides\.", "", message)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:64] or "sweep"
