"""Loads checkpoints with torch, and prints of each file ``{"file": …, "problem": …}``.

Where torch can't be imported it prints ``{"problem": …}`` alone: nothing was shown then.
"""

import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any


def problem_of(torch: Any, path: Path) -> str:
    """Say why torch can't load a file; nothing if it can."""
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # More than tensors: the classes of whoever wrote it, who ran here anyway.
        try:
            torch.load(path, map_location="cpu", weights_only=False)
        except Exception as error:  # noqa: BLE001 - a pickle may raise anything
            return f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"
    return ""


def main(folder: Path, patterns: Any) -> None:
    """Load every trial's files with these names."""
    try:
        import torch  # noqa: PLC0415 - may not be there
    except ImportError as error:
        say({"problem": f"torch can't be imported: {error}"})
        return
    found = {path for name in patterns for path in folder.glob(f"trials/*/{name}")}
    for path in sorted(found):
        if path.is_file():
            problem = problem_of(torch, path)[:500]
            say({"file": str(path.relative_to(folder)), "problem": problem})


def say(answer: Any) -> None:
    """Print an answer as a line of JSON."""
    print(json.dumps(answer), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(Path(os.environ["METTA_RUN_FOLDER"]), sys.argv[1:])
