"""The inner side of a pipe to the benchmark: a line of JSON in, one out."""
# ruff: noqa: INP001 - started by its path, in an interpreter that is not ours

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any


def serve(work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer requests until there are no more. What else is printed goes to standard error."""
    # Whoever is told to end removes first what it has made.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(said: dict[str, Any]) -> None:
        out.write(json.dumps(said) + "\n")
        out.flush()

    answer({"ready": True})
    for line in sys.stdin:
        try:
            answer(work(json.loads(line)))
        except Exception as error:  # noqa: BLE001 - whatever it was, the other side is told
            answer({"error": f"{type(error).__name__}: {error}"})
