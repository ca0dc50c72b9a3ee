"""Every completed trial left a checkpoint that can be loaded."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from typing import Any

from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.checks.judgement import Judgement, judge


def check(evidence: Evidence) -> Judgement:
    """Look into the checkpoint of each completed trial."""
    if not evidence.completed:
        return judge(["no trial completed, so none left a checkpoint"], "")
    with_torch = importlib.util.find_spec("torch") is not None
    problems = []
    for trial in evidence.completed:
        path = evidence.folder / "trials" / trial.run / "checkpoint.pt"
        if problem := archive_problem(path) or (with_torch and load_problem(path)):
            problems.append(f"{evidence.where(path)}: {problem}")
    how = "loaded" if with_torch else "whole archives (torch is not here to load them)"
    return judge(problems, f"{len(evidence.completed)} checkpoints, {how}")


def archive_problem(path: Path) -> str:
    """Say what is wrong with a file as torch's archive of a pickle and its tensors."""
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                return f"{damaged} in it is damaged"
            if not any(name.endswith("/data.pkl") for name in archive.namelist()):
                return "an archive, but not torch's: it has no data.pkl"
    except FileNotFoundError:
        return "missing"
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        return f"not an archive as torch.save writes it: {error}"
    return ""


def load_problem(path: Path) -> str:
    """Say why torch can't load a file as plain tensors and containers; empty if it can."""
    torch: Any = importlib.import_module("torch")
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - torch raises whatever a broken pickle leads to
        first = next(iter(str(error).splitlines()), "")
        return f"torch cannot load it: {type(error).__name__}: {first}"
    return ""
