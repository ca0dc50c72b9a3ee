"""The one tree of errors. Each carries what its reader needs to act on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class SandboxError(Exception):
    """Anything the sandbox reports to its user without a traceback.

    Args:
        message: What happened, to what, where.
        hint: The command or change that mends it, or an empty string.

    """

    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return "\n".join(filter(None, [self.message, self.hint and f"  -> {self.hint}"]))


@dataclass(frozen=True)
class Problem:
    """One fault in a file: where it stands, what was found, what would be right.

    ``line`` and ``column`` count from 1; 0 means that the place is unknown.
    """

    file: Path
    line: int
    column: int
    message: str

    @property
    def place(self) -> tuple[str, int, int]:
        """Where it is; places of one file sort from its beginning."""
        return str(self.file), self.line, self.column

    def __str__(self) -> str:
        place = f":{self.line}:{self.column}" if self.line else ""
        return f"{self.file}{place}: {self.message}"


class InputError(SandboxError):
    """The user's files or arguments are wrong (exit status 2)."""

    exit_status = 2

    def __init__(self, message: str, hint: str = "", problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message, hint)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(filter(None, [*map(str, self.problems), super().__str__()]))


class MachineError(SandboxError):
    """This machine lacks what is needed (exit status 3)."""

    exit_status = 3


class StackError(SandboxError):
    """A stack could not be brought up, or broke while it was used."""
