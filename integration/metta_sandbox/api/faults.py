"""Faults of the control plane, as it strikes calls with them.

The file of the rules is looked at anew for every call, so that one that comes after it was written
is struck for certain.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from metta_sandbox.api.exchange import ApiAnswer, ReceivedCall
from metta_sandbox.api.fault_rules import FAULTS, RULES, ApiFaultRule
from metta_sandbox.errors import MachineError


@dataclass
class FaultRules:
    """The faults there are at this moment.

    Args:
        folder: The control plane's data folder.

    """

    folder: Path
    _seen: tuple[int, int] = (0, 0)
    _rules: tuple[ApiFaultRule, ...] = ()

    def rule(self, call: ReceivedCall) -> ApiFaultRule | None:
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
                self._rules = RULES.validate_json(path.read_bytes())
            except (OSError, ValidationError) as error:
                raise MachineError(f"cannot read the faults {path}: {error}") from None
            self._seen = now
        return next((rule for rule in self._rules if takes(rule, call)), None)


def takes(rule: ApiFaultRule, call: ReceivedCall) -> bool:
    """Tell whether a fault strikes a call."""
    if call.scope["path"] == "/health":
        return False
    if rule.route not in (None, f"{call.method} {call.route}"):
        return False
    return call.number >= rule.first and (rule.last is None or call.number <= rule.last)


def halve(answer: ApiAnswer) -> ApiAnswer:
    """Cut an answer's body in its middle, and say that this was all of it."""
    body = answer.body[: len(answer.body) // 2]
    kept = [(name, value) for name, value in answer.headers if name.lower() != b"content-length"]
    length = (b"content-length", str(len(body)).encode())
    return ApiAnswer(answer.status, body, [*kept, length])
