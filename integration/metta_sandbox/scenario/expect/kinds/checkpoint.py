"""What checkpoints trials left."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from metta_sandbox.scenario.expect.bounds import OF, Which, whose
from metta_sandbox.scenario.expect.judgement import Finding, Judgement, judge, unclear, unlike
from metta_sandbox.scenario.expect.kind import CheckKind, CheckPair
from metta_sandbox.scenario.expect.selection import across, none_completed, title
from metta_sandbox.verdict import Verdict
from metta_sandbox.words import many

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import Evidence, TrialRecord

#: Where a scenario's folder keeps what a node said of its checkpoints.
LOAD_PROOF = "checkpoints.json"


class CheckpointCheck(CheckKind):
    """The checkpoints that completed trials leave. A plain word is ``state``."""

    key = "checkpoint"
    about = "Completed trials left a checkpoint that is `present` or `loadable`."
    example = "checkpoint: loadable"
    word = "state"

    state: Literal["present", "loadable"] = Field(
        default="loadable",
        description="There and not empty; or also read by torch, on the first node. `checkpoint: "
        "present` is short for it.",
    )
    of: Which = Field(default="all", description=OF)
    file: str = Field(
        default="checkpoint.pt",
        min_length=1,
        description="Its name in the trial's folder; `*` stands for any letters.",
    )

    @field_validator("file")
    @classmethod
    def _is_inside(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or "**" in value or not path.name:
            raise ValueError("expected a file's name, or a path from the trial's folder")
        return value

    @property
    def wanted(self) -> str:
        """What the checkpoint must be."""
        return self.state

    @property
    def loads(self) -> str:
        """The checkpoint's file, if torch must load it."""
        return self.file if self.state == "loadable" else ""

    def __str__(self) -> str:
        return f"{self.file} of {whose(self.of)} is {self.wanted}"


def check(evidence: Evidence) -> Judgement:
    """Look into the checkpoint of each completed trial.

    That torch can load it is shown on the node, which evaluates it; the host may have no torch.
    """
    if not evidence.completed:
        return none_completed(evidence, "so none left a checkpoint")
    problems = []
    for trial in evidence.completed:
        path = evidence.folder / "trials" / trial.run / "checkpoint.pt"
        if problem := archive_problem(evidence, path):
            problems.append(Finding(problem, evidence.where(path)))
    places = (f"trials/{trial.run}/checkpoint.pt" for trial in evidence.completed)
    return judge(problems, many(len(evidence.completed), "whole checkpoint"), places)


def expect(expected: CheckpointCheck, evidence: Evidence) -> Judgement:
    """Check that trials left the file, and if so asked, that torch can load it.

    The host may have no torch. So the first node is asked at the end of the sweep, while it is
    still there (``play.proving``); what it said is kept in ``checkpoints.json``.
    """
    if expected.state == "loadable" and (problem := evidence.load_proof.problem):
        return unclear(f"no node could be asked to load checkpoints: {problem}", LOAD_PROOF)
    unasked: list[str] = []

    def files(trial: TrialRecord) -> list[Path]:
        return [path for path in evidence.find(expected.file, trial.run) if evidence.size(path)]

    def look(trial: TrialRecord) -> Iterator[Finding]:
        place = f"trials/{trial.run}"
        if not files(trial):
            yield unlike(f"{title(trial)}", f"a file {expected.file}", "none", place)
        for path in files(trial) if expected.state == "loadable" else ():
            name = evidence.where(path)
            said = evidence.load_proof.files.get(name)
            if said is None:
                unasked.append(name)
            elif said:
                yield unlike(f"{title(trial)}: {path.name}", "one that torch loads", said, name)

    def tell(trial: TrialRecord) -> Finding:
        names = ", ".join(path.name for path in files(trial))
        return Finding(f"{names} of {title(trial)}", evidence.where(files(trial)[0]))

    judgement = across(evidence, expected.of, evidence.completed, look, tell)
    if unasked and judgement.verdict is Verdict.PASSED:
        return unclear(f"nobody tried to load {', '.join(unasked)}", LOAD_PROOF)
    return judgement


def archive_problem(evidence: Evidence, path: Path) -> str:
    """Say what is wrong with a file as torch's archive of a pickle and its tensors."""
    try:
        with evidence.opened(path) as file, zipfile.ZipFile(file) as archive:
            if damaged := archive.testzip():
                return f"{damaged} in it is damaged"
            if not any(name.endswith("/data.pkl") for name in archive.namelist()):
                return "an archive, but not torch's: it has no data.pkl"
    except FileNotFoundError:
        why = evidence.left_out.get(evidence.where(path))
        return f"left out of the artifacts: {why}" if why else "missing"
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        return f"not an archive as torch.save writes it: {error}"
    return ""


CHECK = CheckPair(CheckpointCheck, expect)
