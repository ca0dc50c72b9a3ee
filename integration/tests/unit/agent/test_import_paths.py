from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from metta_sandbox.node.agent.fork_server.import_paths import places

HOME = "/nowhere/template-home-of-this-test"


class Slotted:
    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


@dataclass(frozen=True)
class Frozen:
    path: str


def test_what_was_remembered_is_found_and_put_right_wherever_it_is_kept() -> None:
    new = os.path.join(HOME, "tmp")  # noqa: PTH118 - a text, made as modules make it
    kept = ({"a": new, "b": "else"}, [1, new], Slotted(new), Frozen(new))
    found, fixed = places(HOME)
    assert fixed == []
    for text, put in found:
        put(text.replace(HOME, "/mine"))
    assert kept[:2] == ({"a": "/mine/tmp", "b": "else"}, [1, "/mine/tmp"])
    assert [each.path for each in kept[2:]] == ["/mine/tmp"] * 2
    del found, text, put
    assert places(HOME)[0] == []


def test_what_cannot_be_put_right_is_told() -> None:
    kept = (os.path.join(HOME, "tmp"), 1)  # noqa: PTH118 - see above
    _, fixed = places(HOME)
    assert "builtins.tuple" in fixed
    assert Path(str(kept[0])).name == "tmp"
