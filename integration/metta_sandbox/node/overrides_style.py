"""A trial's overrides, put where a trainer's author wants them. Pure but for ``write_files``."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from ruamel.yaml import YAML

from metta_sandbox.scenario.overrides import Override, split_key
from metta_sandbox.scenario.overrides import format as format_override
from metta_sandbox.scenario.values import Value, spelt
from metta_sandbox.scenario.workload import OVERRIDES_FILE, OVERRIDES_YAML, variable_of

#: All overrides at once, as JSON by dotted key, in any trainer's environment.
EVERYTHING = "METTA_OVERRIDES"
#: Where they are too long for a variable, the path of a file that holds them.
EVERYTHING_FILE = "METTA_OVERRIDES_FILE"

#: Linux takes no word of a command, and no variable with its name, of this many bytes
#: (MAX_ARG_STRLEN, with the zero at its end).
LONGEST_WORD = 32 * 4096
#: Above this many bytes they go by file, with some to spare for what is added on the way.
_LONGEST_VARIABLE = 96 * 1024

_TOO_LONG = (
    f"and Linux starts no program with {LONGEST_WORD} or more in one; overrides_style: file has "
    "no such bound"
)

JSON_NAME = "overrides-file.json"
YAML_NAME = "overrides-file.yaml"


def hydra_words(settings: Mapping[str, Value], written: Mapping[str, Value]) -> tuple[str, ...]:
    """Write overrides as Hydra takes them: ``key=value``.

    Args:
        settings: What a trial is set to, by key without an operator.
        written: The scenario's own overrides, which say where Hydra needs an operator
            (``+key``: one that the trainer's config does not have; ``~key``: one it drops).

    """
    parted = {key: op for op, key in map(split_key, written)}
    words = [
        format_override(Override(parted.get(key, ""), key, value))
        for key, value in settings.items()
        if parted.get(key) != "~"
    ]
    dropped = ((key, written[f"~{key}"]) for key, op in parted.items() if op == "~")
    gone = (format_override(Override("~", *item)) for item in dropped if item[0] not in settings)
    return (*words, *gone)


def flag_words(settings: Mapping[str, Value]) -> tuple[str, ...]:
    """Write overrides as ``--key value``; ``--key=-value`` where the value looks like a flag."""
    words: list[str] = []
    for key, value in settings.items():
        text = plain_text(value)
        words += [f"--{key}={text}"] if text.startswith("-") else [f"--{key}", text]
    return tuple(words)


def variables(settings: Mapping[str, Value]) -> dict[str, str]:
    """Write overrides as environment variables: ``trainer.lr`` as ``TRAINER_LR``."""
    return {variable_of(key): plain_text(value) for key, value in settings.items()}


def everything(settings: Mapping[str, Value], file: Path) -> dict[str, str]:
    """Build the variable that tells all overrides, or else where they are.

    Args:
        settings: The trial's.
        file: Is written and told of where they are too long for a variable.

    """
    text = json.dumps({key: spelt(value) for key, value in settings.items()})
    if len(text) <= _LONGEST_VARIABLE:
        return {EVERYTHING: text}
    file.write_text(text + "\n")
    return {EVERYTHING_FILE: str(file)}


def too_long(command: Sequence[str], environ: Mapping[str, str]) -> str:
    """Name what the kernel would start no program with, or return an empty string."""
    for word in command:
        if (size := len(word.encode())) >= LONGEST_WORD:
            return f"the word {word[:40]}… has {size} bytes, {_TOO_LONG}"
    for name, value in environ.items():
        if (size := len(f"{name}={value}".encode())) >= LONGEST_WORD:
            return f"the variable {name} has {size} bytes, {_TOO_LONG}"
    return ""


def nested(settings: Mapping[str, Value]) -> dict[str, Any]:
    """Write dotted keys as mappings in mappings.

    One that begins with another key, which has a value already, stays dotted.
    """
    tree: dict[str, Any] = {}
    for key, value in sorted(settings.items(), key=lambda pair: pair[0].count(".")):
        *path, leaf = key.split(".")
        branch: Any = tree
        for part in path:
            branch = branch.setdefault(part, {}) if isinstance(branch, dict) else None
        if isinstance(branch, dict) and leaf not in branch:
            branch[leaf] = value
        else:
            tree[key] = value
    return tree


def write_files(folder: Path, settings: Mapping[str, Value]) -> None:
    """Write overrides as files of JSON and YAML, nested."""
    tree = nested(settings)
    (folder / JSON_NAME).write_text(json.dumps(spelt(tree), indent=2) + "\n")
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    # Readers of YAML 1.1, PyYAML for one, take 1e-05 for a text; written for them it is 1.0e-05.
    yaml.version = (1, 1)
    text = io.StringIO()
    yaml.dump(tree, text)
    (folder / YAML_NAME).write_text(text.getvalue())


def fill_in(command: tuple[str, ...], environ: Mapping[str, str], folder: Path) -> tuple[str, ...]:
    """Put variables and the overrides' file into the words of a command.

    Args:
        command: The trainer's.
        environ: What ``$NAME`` and ``${NAME}`` stand for; others stay as they are, ``$$`` is ``$``.
        folder: The trial's.

    """
    files = {OVERRIDES_FILE: folder / JSON_NAME, OVERRIDES_YAML: folder / YAML_NAME}
    words = []
    for word in command:
        filled = Template(word).safe_substitute(environ)
        for placeholder, path in files.items():
            filled = filled.replace(placeholder, str(path))
        words.append(filled)
    return tuple(words)


def plain_text(value: Value) -> str:
    """Write a value as a program's argument: texts as they are, anything else as JSON."""
    value = spelt(value)
    return value if isinstance(value, str) else json.dumps(value)
