"""``python -m benchmarks.reading FOLDER [GUARD …]``: report on a kept run, with these guards alone.

Whatever guard is not named is taken away, which the sandbox itself can't do: so that what each
costs can be told. Prints the seconds of processor time that it took.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import Any, BinaryIO
from unittest.mock import patch

from metta_sandbox import beneath
from metta_sandbox.masking import Masker
from metta_sandbox.report import page, results
from metta_sandbox.report.hiding import hide_in

#: Guards by name: only plain files are opened, texts of others are made safe, secrets are masked.
SAFE_READING, SAFE_TEXT, MASKING = GUARDS = ("reading", "text", "masking")
#: What stands nowhere in the run: every byte is searched for it.
_SECRET = "a-token-that-stands-nowhere"  # noqa: S105 - it opens nothing


def main(arguments: Sequence[str]) -> None:
    """Mask, read and render a run once, and print how long that took."""
    folder, guards = Path(arguments[0]), set(arguments[1:])
    run = results.read(folder)
    with ExitStack() as taken_away:
        for guard, module, name, instead in _INSTEAD:
            if guard not in guards:
                taken_away.enter_context(patch.object(module, name, instead))
        began = time.process_time()
        hide_in(folder, Masker([_SECRET] if MASKING in guards else []))
        page.render(run, folder)
        sys.stdout.write(f"{time.process_time() - began}\n")


def _open_plainly(root: Path | int, path: PurePath, *, most: int | None = None) -> BinaryIO:
    assert isinstance(root, Path), most
    return (root / path).open("rb")


def _as_it_is(value: Any) -> Any:
    return value


#: What stands in the place of a guard that is taken away: its module, its name, what does nothing.
_INSTEAD = (
    (SAFE_READING, beneath, "open_file", _open_plainly),
    # It goes through all data for the sake of the texts in it.
    (SAFE_TEXT, page, "_shown", _as_it_is),
)


if __name__ == "__main__":
    main(sys.argv[1:])
