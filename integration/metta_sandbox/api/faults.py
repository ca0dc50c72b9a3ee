"""Faults of the control plane: what the harness has it do with calls, from one moment to another.

The harness writes ``faults.json`` into the data folder, whole, each time one begins or ends. It is
looked at anew for every call, so that one that comes after is struck for certain.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from metta_sandbox.api.exchange import Answer, Call
from metta_sandbox.errors import MachineError

#: The file of a control plane's data folder that says which faults there are at this moment.
FAULTS = "faults.json"


class ApiFaultRule(BaseModel):
    """What is done with the calls of a route while a fault lasts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fault: str
    #: Method and template; None for every route but the check of health.
    route: str | None = None
    #: The first and the last call of the route that are struck, from 1.
    first: int = 1
    last: int | None = None
    status: int | None = None
    detail: str = "injected by a fault"
    delay: float | None = None
    drop: bool = False
    broken_json: bool = False
    run_name: str | None = None

    def takes(self, call: Call) -> bool:
        """Tell whether a call is struck."""
        if call.scope["path"] == "/health":
            return False
        if self.route not in (None, f"{call.method} {call.route}"):
            return False
        return call.number >= self.first and (self.last is None or call.number <= self.last)

    @property
    def answer(self) -> Answer | None:
        """What is answered in the service's place; None if the service is asked."""
        if self.status is None:
            return None
        return _json({"detail": self.detail}, self.status)


_RULES = TypeAdapter(tuple[ApiFaultRule, ...])


@dataclass
class FaultRules:
    """The faults there are at this moment.

    Args:
        folder: The control plane's data folder.

    """

    folder: Path
    _seen: tuple[int, int] = (0, 0)
    _rules: tuple[ApiFaultRule, ...] = ()

    def rule(self, call: Call) -> ApiFaultRule | None:
        """Find the fault that strikes a call; the first of several.

        Raises:
            MachineError: The file can't be read.

        """
        path = self.folder / FAULTS
        try:
            state = path.stat()
        except FileNotFoundError:
            return None
        if (now := (state.st_mtime_ns, state.st_ino)) != self._seen:
            try:
                self._rules = _RULES.validate_json(path.read_bytes())
            except (OSError, ValidationError) as error:
                raise MachineError(f"cannot read the faults {path}: {error}") from None
            self._seen = now
        return next((rule for rule in self._rules if rule.takes(call)), None)


def write_rules(folder: Path, rules: tuple[ApiFaultRule, ...]) -> None:
    """Say which faults there are from now on."""
    draft = folder / f".{FAULTS}"
    draft.write_bytes(_RULES.dump_json(rules, indent=2) + b"\n")
    draft.chmod(0o644)
    draft.replace(folder / FAULTS)


def halve(answer: Answer) -> Answer:
    """Cut an answer's body in its middle, and say that this was all of it."""
    body = answer.body[: len(answer.body) // 2]
    kept = [(name, value) for name, value in answer.headers if name.lower() != b"content-length"]
    length = (b"content-length", str(len(body)).encode())
    return Answer(answer.status, body, [*kept, length])


def _json(content: object, status: int) -> Answer:
    body = json.dumps(content).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    return Answer(status, body, headers)
