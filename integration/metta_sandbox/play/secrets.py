"""The values of what a scenario keeps secret: from the environment, files and the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from metta_sandbox.errors import InputError, Problem
from metta_sandbox.masking import SHORTEST, hide
from metta_sandbox.play.host_inputs import relative_to_file
from metta_sandbox.scenario.loading import Loaded
from metta_sandbox.scenario.secrets import NAME, Secret

#: Bytes of a file that holds a secret.
_LARGEST = 64 * 1024
#: What a variable of the environment is put in place of, in a trainer's command.
_FILLED_IN = re.compile(r"(?<!\$)(?:\$\$)*\$\{?(?P<name>[A-Za-z_]\w*)")


def read_secrets(words: Iterable[str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Read what ``--secret`` says: ``NAME``, whose value the environment has, or ``NAME=VALUE``.

    What they hold is hidden from now on, also in messages.

    Raises:
        InputError: One says something else, or has no value that can be masked; no message says it.

    """
    given: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not NAME.fullmatch(name):
            raise InputError("--secret: expected NAME, or NAME=VALUE", "as in: --secret HF_TOKEN")
        given[name] = value if equals else environ.get(name, "")
        if lack := _lack(given[name]):
            raise InputError(f"--secret {name}: {lack}", f"set it in the environment: {name}=…")
    hide(given.values())
    return given


def require_secrets(scenarios: Iterable[Loaded], given: Mapping[str, str]) -> None:
    """Make sure that all secrets of scenarios are to be had, and hide them from now on.

    Raises:
        InputError: Some are not; all are named, and none is told.

    """
    problems: list[Problem] = []
    for loaded in scenarios:
        _values(loaded, given, problems)
    _require_none(problems)


def secrets_of(loaded: Loaded, given: Mapping[str, str]) -> dict[str, str]:
    """Give the variables that hold secrets, and hide those from now on.

    Args:
        loaded: What is played.
        given: What the command line says, which goes over the file's, for all scenarios.

    Raises:
        InputError: Some are not to be had; all are named, and none is told.

    """
    problems: list[Problem] = []
    values = _values(loaded, given, problems)
    _require_none(problems)
    return values


def _require_none(problems: Sequence[Problem]) -> None:
    if problems:
        raise InputError("secrets are missing or wrong", problems=tuple(dict.fromkeys(problems)))


def _values(loaded: Loaded, given: Mapping[str, str], problems: list[Problem]) -> dict[str, str]:
    """Read the values, and hide them at once: read again, a file may hold another one."""
    scenario = loaded.scenario
    values = {**scenario.secret_env, **given}
    problems += _on_command_lines(loaded, {*values, *scenario.secrets})
    for name, secret in scenario.secrets.items():
        if name in given:
            continue
        value, lack = _value(name, secret, loaded.file)
        if lack := lack or _lack(value):
            mend = f"set {secret.env or name} in the environment, or --secret {name}=VALUE"
            message = f"secrets.{name}: {lack}; {mend}"
            problems.append(loaded.problem(("secrets", name), message))
        else:
            values[name] = value
    hide(values.values())
    return values


def _on_command_lines(loaded: Loaded, names: set[str]) -> Iterator[Problem]:
    """Find secrets in a trainer's command, where they would stand in lists of processes."""
    for word in loaded.scenario.workload.trainer.command:
        for found in _FILLED_IN.finditer(word):
            if found["name"] in names:
                keys = ("workload", "trainer", "command")
                message = (
                    f"{'.'.join(keys)}: ${found['name']} is a secret, which anybody would see in a "
                    "list of processes; let the trainer read it from its environment"
                )
                yield loaded.problem(keys, message)


def _value(name: str, secret: Secret, file: Path) -> tuple[str, str]:
    """Find a value, or say why it is not to be had."""
    if secret.file is None:
        return os.environ.get(secret.env or name, ""), ""
    path = relative_to_file(file, secret.file)
    try:
        with path.open("rb") as opened:
            data = opened.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            return "", f"{path} is larger than {_LARGEST // 1024} KiB"
        return data.decode().strip("\r\n"), ""
    except (OSError, ValueError) as error:
        return "", f"{path} can't be read: {getattr(error, 'strerror', None) or 'not UTF-8'}"


def _lack(value: str) -> str:
    if not value:
        return "has no value"
    few = f"its value has fewer than {SHORTEST} characters, too few to be masked"
    return few if max(map(len, value.splitlines()), default=0) < SHORTEST else ""
