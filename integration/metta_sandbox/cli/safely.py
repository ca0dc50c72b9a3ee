"""What a command line says of itself, made safe: some of it is others' text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from metta_sandbox.errors import SandboxError
from metta_sandbox.safe_text import for_console


@contextmanager
def _safe_complaints() -> Iterator[None]:
    """Make what is said of a wrong command line safe: it repeats the line's words."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, SandboxError) and isinstance(getattr(error, "message", 0), str):
            error.message = for_console(error.message)  # type: ignore[attr-defined]
        raise


class Commands(TyperGroup):
    """The commands. Typer itself prints what is wrong with their words."""

    def make_context(self, *words: Any, **extra: Any) -> Any:
        """Read the words before the command."""
        with _safe_complaints():
            return super().make_context(*words, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Read the words behind the command, and do it."""
        with _safe_complaints():
            return super().invoke(ctx)


def say(text: str) -> None:
    """Print text, some of which is others'."""
    typer.echo(for_console(text))
