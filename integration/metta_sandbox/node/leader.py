"""What only rank 0's rollout may do: register, suggest, name, track, evaluate, observe."""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

from metta_sandbox import beneath
from metta_sandbox.errors import InputError
from metta_sandbox.node.agent.emitter import Emitter
from metta_sandbox.node.agent.events import (
    EvalFinished,
    Name,
    ObservationRecorded,
    Record,
    RunNamed,
    SuggestionMade,
    SweepResumed,
    Told,
    TrackingStarted,
    TrialPruned,
)
from metta_sandbox.node.control_plane import ControlPlane
from metta_sandbox.node.handoff import HandOff, Outcome, why
from metta_sandbox.node.overrides_style import write_files
from metta_sandbox.node.score import NoScoreError, TrialOutput, find_score
from metta_sandbox.node.tracking import TrackedRun, start_tracker
from metta_sandbox.node.trial import trial_folder
from metta_sandbox.ports import HeldPort
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.overrides import abridged
from metta_sandbox.scenario.values import Value, spelt
from metta_sandbox.scenario.workload import ScoreSource
from metta_sandbox.sweep import ExhaustedError, Observation, Pruning, Strategy, create

#: W&B's names for where runs go; nothing is ever sent there from a node.
PROJECT = "metta-sandbox"
ENTITY = "metta"
#: Events of trainers that say something of a trial's score, cost and history.
_OF_TRAINING: Collection[Name | None] = ("train.step", "train.finished")


@dataclass
class _Trial:
    """The trial under way."""

    number: int
    run: str
    suggestion: dict[str, Value]
    overrides: dict[str, Value]
    tracked: TrackedRun
    folder: Path
    started: float
    training_run: str
    attempt: int
    began: float = field(default_factory=time.time)
    agent_steps: float = 0.0
    step: int = 0
    told: dict[str, Any] = field(default_factory=dict)
    #: Its last score, if the strategy ended it early.
    pruned_at: float | None = None

    @property
    def checkpoint(self) -> Path:
        """What training left, and evaluation takes."""
        return self.folder / "checkpoint.pt"


class Leader:
    """Leads a sweep from rank 0.

    Args:
        scenario: What is swept.
        sweep: The sweep's name.
        overrides: Settings all trials share.
        run_folder: The folder all nodes share.
        control_plane: Observatory and Cogweb.
        emitter: Where events go.

    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        sweep: str,
        overrides: Mapping[str, Value],
        run_folder: Path,
        control_plane: ControlPlane,
        emitter: Emitter,
    ) -> None:
        self._spec = scenario.sweep
        self._trainer = scenario.workload.trainer
        self._seed = scenario.seed
        self._sweep = sweep
        self._overrides = dict(overrides)
        self._run_folder = run_folder
        self._api = control_plane
        self._emitter = emitter
        self._strategy: Strategy = create(scenario.sweep, scenario.seed)
        self._record = run_folder / "observations.jsonl"
        self._trial: _Trial | None = None
        self._port: HeldPort | None = None
        self._runs = 0
        self._finished = 0
        self._attempt = 1
        self._spent = 0.0
        self.completed = 0
        self.failed = 0
        self.retried = 0
        self._failed_in_a_row = 0
        #: What the strategy raised in the middle of a trial, which ends on all ranks first.
        self._broken: Exception | None = None

    @property
    def gave_up(self) -> bool:
        """Whether too many trials failed one after another."""
        return self._failed_in_a_row >= self._spec.max_failures_in_a_row

    def begin(self) -> None:
        """Register the sweep if it is new, and load what was observed before.

        Raises:
            InputError: What was observed before is not of this search.

        """
        threading.Thread(target=self._import_ahead, daemon=True).start()
        if not self._api.sweep(self._sweep).exists:
            digest = hashlib.sha256(f"{self._sweep} {self._seed}".encode()).hexdigest()
            self._api.create_sweep(
                self._sweep, project=PROJECT, entity=ENTITY, wandb_sweep_id=digest[:8]
            )
        if beneath.size_of(self._run_folder, self._record) is None:
            return
        for line in beneath.read_bytes(self._run_folder, self._record).decode().splitlines():
            told = json.loads(line)
            try:
                observation = Observation(**told["observation"])
                self._observe(observation, retried=told.get("retried", False))
            except ValueError as error:
                raise InputError(
                    f"sweep.resume: {told.get('run', 'a trial')} is not of this search: {error}",
                    "resume with the same parameters, or begin a sweep of another name",
                ) from error
        if self._runs:
            self._emitter.tell(
                SweepResumed(runs=self._runs, trials=self._finished, spent=self._spent)
            )

    @property
    def _is_over(self) -> bool:
        """Whether the sweep has had its trials, spent its budget, or gave up."""
        budget = self._spec.budget
        spent = budget is not None and self._spent >= budget
        return self.gave_up or spent or self._finished >= self._spec.trials

    def _observe(self, observation: Observation, *, retried: bool) -> None:
        """Take in what came of a run. One that is tried again is not yet the trial's outcome."""
        self._runs += 1
        self._spent += observation.cost
        if retried:
            # Without an observation between, the strategy suggests the same again.
            self._attempt += 1
            return
        self._attempt = 1
        self._strategy.observe(observation)
        self._finished += 1

    def propose(self) -> HandOff:
        """Prepare the next trial; one without a run name says that the sweep is over."""
        number = self._runs + 1
        if self._is_over:
            return HandOff(trial=number, run="", overrides={}, wandb_run_id="", port=0)
        started = time.perf_counter()
        try:
            suggestion = dict(self._strategy.suggest().overrides)
        except ExhaustedError:
            return HandOff(trial=number, run="", overrides={}, wandb_run_id="", port=0)
        told, attempt = abridged(suggestion), self._attempt
        self._emitter.tell(SuggestionMade(trial=number, suggestion=told, attempt=attempt))
        run = self._api.next_run(self._sweep)
        self._emitter.tell(RunNamed(trial=number, run=run))
        overrides = {**self._overrides, **suggestion}
        folder = trial_folder(self._run_folder, run)
        folder.mkdir(parents=True, exist_ok=True)
        said = {key: spelt(value) for key, value in overrides.items()}
        text = json.dumps(said, indent=2) + "\n"
        beneath.replace(self._run_folder, folder / "overrides.json", text.encode())
        if self._trainer.overrides_style == "file":
            write_files(folder, overrides)
        begun = partial(self._emitter.tell, TrackingStarted(trial=number, run=run))
        tracked = TrackedRun(self._run_folder, self._sweep, run, said, PROJECT, begun)
        known = self._api.training_run(run, {"overrides": said, "trial": number})
        self._trial = _Trial(
            number, run, suggestion, said, tracked, folder, started, known, self._attempt
        )
        # The trial's ranks bind it, and nobody else, until the next trial has another one.
        self._port = HeldPort()
        return HandOff(number, run, overrides, tracked.id, self._port.number, self._attempt)

    @property
    def trial(self) -> int:
        """The number of the trial under way."""
        assert self._trial is not None
        return self._trial.number

    def follow(self, record: Record) -> bool:
        """Take in an event of this node's trainers.

        Returns:
            Whether the strategy ends the trial now.

        """
        assert self._trial is not None
        told: Told = record
        if (name := told.get("event")) not in _OF_TRAINING:
            return False
        # Anybody's trainer may emit them, with whatever in them.
        if _is_number(steps := told.get("agent_steps")):
            self._trial.agent_steps = float(steps)
        if _is_number(step := told.get("step")):
            self._trial.step = int(step)
        if told.get("rank", 0) == 0:
            self._trial.told.update(record)
            if name == "train.step":
                self._trial.tracked.log_step(record)
                return self._prunes(self._trial, record.get(self._spec.metric))
        return False

    def _prunes(self, trial: _Trial, score: object) -> bool:
        """Ask the strategy whether a trial with this intermediate score goes on."""
        if not (isinstance(self._strategy, Pruning) and _is_number(score)):
            return False
        if trial.pruned_at is not None or self._broken:
            return False
        try:
            pruned = self._strategy.prunes(trial.step, float(score))
        except Exception as error:  # noqa: BLE001 - it is the user's; ``conclude`` raises it
            self._broken = error
            return True
        if not pruned:
            return False
        trial.pruned_at = float(score)
        told = TrialPruned(trial=trial.number, run=trial.run, step=trial.step, score=float(score))
        self._emitter.tell(told)
        return True

    def conclude(self, outcomes: list[Outcome]) -> None:
        """Score the trial if it was trained on every node, and record what was observed.

        Raises:
            Exception: The strategy's, if that broke while the trial was trained.

        """
        trial = self._trial
        assert trial is not None
        if self._broken is not None:
            raise self._broken
        reason, score = why(outcomes), None
        if not reason and trial.pruned_at is not None:
            score = trial.pruned_at
        elif not reason:
            score, reason = self._judge(trial)
        summary = self._summary(trial, score, reason)
        trial.tracked.finish({**summary, self._spec.metric: score}, failed=bool(reason))
        if trial.tracked.problem and not reason:
            # What the tracker does not hold, nobody finds again.
            score, reason = None, f"wandb lost the run: {trial.tracked.problem}"
            summary = self._summary(trial, score, reason)
        failed, retried = bool(reason), summary["retried"]
        observation = Observation(
            trial.suggestion, score, summary["cost"], failed=failed, pruned=summary["pruned"]
        )
        self._write(trial, observation, summary)
        self._observe(observation, retried=retried)
        self._count(failed=failed, retried=retried)
        self._emitter.tell(
            ObservationRecorded(
                trial=trial.number,
                run=trial.run,
                score=score,
                cost=observation.cost,
                failed=failed,
                reason=reason,
                attempt=trial.attempt,
                retried=retried,
                pruned=summary["pruned"],
            )
        )

    def _judge(self, trial: _Trial) -> tuple[float | None, str]:
        """Score a trial; returns no score and the reason where it has none."""
        try:
            score = self._score(trial)
        except (NoScoreError, InputError) as error:
            return None, error.message
        return (score, "") if math.isfinite(score) else (None, f"the score is {score}")

    def _summary(self, trial: _Trial, score: float | None, reason: str) -> dict[str, Any]:
        """Say what came of a trial, as all places have it that keep it."""
        seconds = time.perf_counter() - trial.started
        # Of a trainer that tells no agent steps each trial costs one: seconds would make
        # suggestions differ from run to run.
        steps = trial.agent_steps or (0.0 if self._trainer.bundled else 1.0)
        return {
            "trial": trial.number,
            "run": trial.run,
            "status": "failed" if reason else "completed",
            "score": score,
            "cost": steps if self._spec.cost == "agent_steps" else seconds,
            "seconds": seconds,
            "reason": reason,
            "attempt": trial.attempt,
            "retried": bool(reason) and trial.attempt <= self._spec.retries,
            "pruned": not reason and trial.pruned_at is not None,
        }

    def _import_ahead(self) -> None:
        """Import what each trial needs, while trainers are started and waited for anyway."""
        with suppress(Exception):  # it is told where it is needed
            start_tracker()
            if self._spec.strategy == "protein":
                import metta_sandbox.sweep.model  # noqa: PLC0415 - slow to import
            if self._trainer.bundled:
                import metta_sandbox.node.arena.evaluate  # noqa: F401, PLC0415 - slow to import

    def _count(self, *, failed: bool, retried: bool) -> None:
        self.failed += failed
        self.completed += not failed
        self.retried += retried
        if not retried:
            self._failed_in_a_row = self._failed_in_a_row + 1 if failed else 0

    def _score(self, trial: _Trial) -> float:
        """Find a trial's score, tell it, and report it to the control plane.

        Raises:
            NoScoreError: There is none.
            InputError: The checkpoint can't be evaluated.

        """
        source, metric = self._trainer.score, self._spec.metric
        if source is None and not self._trainer.bundled:
            source = ScoreSource(source="event" if metric in trial.told else "evaluate")
            if source.source == "evaluate" and not trial.checkpoint.exists():
                raise NoScoreError(
                    f"no score: no train.step or train.finished event carries {metric}, and there "
                    f"is no {trial.checkpoint.name}; workload.trainer.score says where else to look"
                )
        number, run = trial.number, trial.run
        if source is None or source.source == "evaluate":
            score, episodes = self._evaluate(trial)
            told = EvalFinished(trial=number, run=run, score=score, episodes=episodes)
        else:
            left = TrialOutput(trial.folder, Path.cwd(), trial.began, trial.told)
            score = find_score(source, metric, left)
            told = EvalFinished(trial=number, run=run, score=score, source=source.source)
        self._emitter.tell(told)
        if math.isfinite(score):
            self._report(trial, score)
        return score

    def _evaluate(self, trial: _Trial) -> tuple[float, int]:
        if not trial.checkpoint.exists():
            raise NoScoreError(f"no rank left a {trial.checkpoint.name}")
        from metta_sandbox.node.arena.evaluate import evaluate  # noqa: PLC0415 - slow to import

        curriculum = str(trial.overrides.get("trainer.curriculum", "arena/random"))
        result = evaluate(trial.checkpoint, curriculum=curriculum, seed=self._seed)
        return result.score, result.episodes

    def _report(self, trial: _Trial, score: float) -> None:
        """Tell the control plane what was trained and how it scored."""
        epoch = self._api.epoch(trial.training_run, 0, trial.step)
        url = trial.checkpoint.as_uri() if trial.checkpoint.exists() else None
        policy = self._api.policy(trial.run, url=url, epoch_id=epoch)
        self._api.episode(policy, {"0": {self._spec.metric: score}})

    def _write(self, trial: _Trial, observation: Observation, summary: Mapping[str, Any]) -> None:
        """Record an observation on disk: of all trials, and in the trial's folder."""
        record = {
            "run": trial.run,
            "trial": trial.number,
            "attempt": trial.attempt,
            "retried": summary["retried"],
            "observation": asdict(observation),
        }
        line = json.dumps(record) + "\n"
        beneath.append(self._run_folder, self._record, line.encode())
        whole = {**summary, "suggestion": trial.suggestion, "overrides": trial.overrides}
        text = json.dumps(whole, indent=2) + "\n"
        beneath.replace(self._run_folder, trial.folder / "trial.json", text.encode())


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
