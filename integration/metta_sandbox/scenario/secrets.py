"""``secrets: …``: what nodes are given that nobody else may see. Here stand names, never values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from typing_extensions import Self

from metta_sandbox.scenario.base import Misfit, Part, misfit

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_CREDENTIAL = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|API_?KEY|ACCESS_KEY"
    r"|PRIVATE_KEY|SECRET_KEY|AUTH)(?:_|$)",
    re.IGNORECASE,
)


class Secret(Part):
    """Where a secret's value is."""

    env: str | None = Field(
        default=None,
        pattern=rf"^{NAME.pattern}$",
        description="The environment's variable. Default: the one of the secret's own name.",
    )
    file: str | None = Field(
        default=None,
        min_length=1,
        description="A file that holds nothing else, beside the scenario file; ~ is one's home.",
    )

    @model_validator(mode="after")
    def _is_in_one_place(self) -> Self:
        if self.env is not None and self.file is not None:
            raise ValueError("expected either env or file")
        return self


def _as_secret(given: Any) -> Any:
    if given is None or given == "":
        return {}
    if isinstance(given, (Mapping, Secret)):
        return given
    # Nor does the message say it: the text is part of an error only where it is not a mapping.
    raise misfit([((), "a value in a file is no secret: leave it empty, or say env or file")])


def _are_variables(value: dict[str, Secret]) -> dict[str, Secret]:
    faults: list[Misfit] = [
        ((name,), "expected a variable's name: letters, digits and _")
        for name in value
        if not NAME.fullmatch(name)
    ]
    if faults:
        raise misfit(faults)
    return value


_Secret = Annotated[Secret, BeforeValidator(_as_secret, json_schema_input_type=Secret | None)]
Secrets = Annotated[dict[str, _Secret], AfterValidator(_are_variables)]


def looks_secret(name: str) -> bool:
    """Tell whether a variable of this name holds a credential: ``GITHUB_TOKEN``, ``MY_API_KEY``."""
    return _CREDENTIAL.search(name) is not None


def referring(env: Mapping[str, str], values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Give the variables of a workload that refer to secrets, by name, with those filled in."""

    def fill_in(found: re.Match[str]) -> str:
        return values.get(found[1], found[0])

    for name, text in env.items():
        if any(found in values for found in _REFERENCE.findall(text)):
            yield name, _REFERENCE.sub(fill_in, text)
