"""Orders to what is beside a node: lines of JSON, each answered by one before the next is read."""

import json
import sys
from typing import Any, Callable, Dict, Iterator

Verbs = Dict[str, Callable[..., Any]]


def say(answer: Dict[str, Any]) -> None:
    """Print an answer."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def follow(verbs: Verbs, orders: Iterator[str]) -> None:
    """Do what is ordered until there are no more orders; what can't be done is no end of it."""
    for line in orders:
        say(_answer(verbs, json.loads(line)))


def _answer(verbs: Verbs, order: Dict[str, Any]) -> Dict[str, Any]:
    try:
        return {"result": verbs[order["verb"]](**order["args"])}
    except (OSError, ValueError, KeyError) as error:
        return {"error": "{}: {}".format(type(error).__name__, error)}
