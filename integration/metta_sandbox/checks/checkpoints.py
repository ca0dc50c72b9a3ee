"""Every completed trial left a whole checkpoint."""

from __future__ import annotations

import zipfile
from pathlib import Path

from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.checks.judgement import Judgement, judge


def check(evidence: Evidence) -> Judgement:
    """Look into the checkpoint of each completed trial.

    That torch can load it is shown on the node, which evaluates it; the host may have no torch.
    """
    if not evidence.completed:
        return judge(["no trial completed, so none left a checkpoint"], "")
    problems = []
    for trial in evidence.completed:
        path = evidence.folder / "trials" / trial.run / "checkpoint.pt"
        if problem := archive_problem(path):
            problems.append(f"{evidence.where(path)}: {problem}")
    return judge(problems, f"{len(evidence.completed)} whole checkpoints")


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
