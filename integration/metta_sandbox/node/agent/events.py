"""The catalogue of events: what each is called, who tells it, what it means, what it carries.

An event is called as its class is, in lower case and with a dot: ``TrainStep`` is ``train.step``.
Emitters tell these (``Emitter.tell``). What the harness believes (``play.claims``), which names a
scenario may ask for, the schema of ``timeline.jsonl`` and the documentation's table are made of it.
A trainer may emit events of names and fields of its own (``Emitter.emit``).

Made without ``dataclasses``, which takes longer to import than an agent takes to start.
"""

from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ClassVar,
    Dict,
    FrozenSet,
    Literal,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    Type,
    cast,
    overload,
)

if TYPE_CHECKING:
    from typing import dataclass_transform
else:

    def dataclass_transform(**_: bool) -> Callable[[type], type]:
        """Do nothing: it is for whoever checks types."""
        return lambda whole: whole


#: An event as it is sent, and as a line of ``timeline.jsonl`` has it.
Record = Mapping[str, Any]

#: Who tells an event; nobody else is believed.
Teller = Literal[
    "rank 0's rollout",
    "each node's rollout",
    "the trainer",
    "the agent",
    "the control plane",
    "the harness",
    "what a fault put there",
]

#: The events' names, for whoever reads them: those of the classes below, as a test holds.
Name = Literal[
    "rollout.started", "sweep.resumed", "suggestion.made", "run.named", "folder.fresh",
    "tracking.started", "handoff.sent", "handoff.received", "trial.launched", "rank.started",
    "train.started", "train.step", "checkpoint.saved", "train.finished", "rank.exited",
    "eval.finished", "trial.pruned", "observation.recorded", "folder.reread", "rollout.finished",
    "command.exited", "api.ready", "api.request", "package.asked", "node.notice", "node.ended",
    "node.lost", "node.rejoined", "optimizer.step", "group.closing", "fault.happened",
]  # fmt: skip

#: Their fields' names, for whoever reads them. Those below, as a test holds.
Field = Literal[
    "event", "node", "node_rank", "rank", "local_rank", "trial", "run", "group", "pid", "seq",
    "mono", "wall", "host", "num_nodes", "runs", "trials", "spent", "suggestion", "attempt",
    "moved", "seconds", "overrides", "wandb_run_id", "port", "process", "log", "world_size", "step",
    "agent_steps", "path", "digest", "status", "out_of_memory", "score", "episodes", "source",
    "cost", "failed", "reason", "retried", "pruned", "files", "count", "unknown",
    "completed",
    "observatory_port", "cogweb_port",
    "wandb_port", "service", "method", "route", "call", "scripted", "fault",
    "rule", "dropped", "signal", "grace", "groups", "ended", "killed", "how", "ahead", "takes",
    "raised", "at", "exits", "reads", "sleeps", "holds", "loss", "reward", "skipped", "gradients",
    "nan_before", "nan", "handed_off", "started_with", "command", "number", "received",
    "question", "package", "file", "packages_port",
]  # fmt: skip


class Told(Protocol):
    """An event as whoever asks for fields of the catalogue sees it.

    Its name may be a trainer's own, too, which nobody who asks so knows.
    """

    @overload
    def get(self, key: Literal["event"], /) -> Optional[Name]: ...

    @overload
    def get(self, key: Field, /) -> Any: ...

    @overload
    def get(self, key: Field, default: Any, /) -> Any: ...


@dataclass_transform(kw_only_default=True, frozen_default=True)
class _Fields:
    """Keeps the fields that an event is made with."""

    def __init__(self, **fields: object) -> None:
        vars(self).update(fields)


class KnownEvent(_Fields):
    """An event of the catalogue, with what any event may say of where it comes from."""

    name: ClassVar[Name]
    teller: ClassVar[Teller]
    #: What it carries beyond where it comes from, with types.
    fields: ClassVar[Mapping[str, object]] = {}

    node: Optional[str] = None
    node_rank: Optional[int] = None
    rank: Optional[int] = None
    local_rank: Optional[int] = None
    trial: Optional[int] = None
    run: Optional[str] = None
    group: Optional[str] = None
    pid: Optional[int] = None
    seq: Optional[int] = None
    mono: Optional[float] = None
    wall: Optional[float] = None

    def __init_subclass__(cls, *, teller: Teller) -> None:
        dotted = "".join(f".{each}" if each.isupper() else each for each in cls.__name__)
        cls.name, cls.teller = cast(Name, dotted[1:].lower()), teller
        cls.fields = {**cls.fields, **vars(cls).get("__annotations__", {})}
        CATALOGUE[cls.name] = cls

    def record(self) -> Record:
        """Build the event's record as it is sent, without fields that were not given."""
        return {"event": self.name, **vars(self)}


#: Each event, by its name.
CATALOGUE: Dict[str, Type[KnownEvent]] = {}


def told_by(teller: Teller) -> FrozenSet[str]:
    """Give the names of the events that one tells."""
    return frozenset(name for name, known in CATALOGUE.items() if known.teller == teller)


class RolloutStarted(KnownEvent, teller="each node's rollout"):
    """The rollout of a node has begun."""

    host: str
    num_nodes: int


class SweepResumed(KnownEvent, teller="rank 0's rollout"):
    """The observations of an earlier run were taken over: so many runs, trials and their cost."""

    runs: int
    trials: int
    spent: float


class SuggestionMade(KnownEvent, teller="rank 0's rollout"):
    """The strategy has suggested values; ``attempt`` says how often they are tried, from 1."""

    trial: int
    suggestion: Mapping[str, object]
    attempt: int


class RunNamed(KnownEvent, teller="rank 0's rollout"):
    """The control plane has given the trial's run its name."""

    trial: int
    run: str


class FolderFresh(KnownEvent, teller="each node's rollout"):
    """A trial has got the working folder as ``setup`` left it; an earlier one had changed it."""

    trial: int
    moved: int
    seconds: float


class TrackingStarted(KnownEvent, teller="rank 0's rollout"):
    """The trial's W&B run has begun, beside the hand-off and the training."""

    trial: int
    run: str


class HandoffSent(KnownEvent, teller="rank 0's rollout"):
    """Rank 0 hands a trial off to all nodes; its ranks meet at ``port``."""

    trial: int
    run: str
    overrides: Mapping[str, object]
    wandb_run_id: str
    port: int


class HandoffReceived(HandoffSent, teller="each node's rollout"):
    """A node has got the hand-off."""


class TrialLaunched(KnownEvent, teller="each node's rollout"):
    """A node starts its ranks, with these overrides."""

    trial: int
    run: str
    overrides: Mapping[str, object]


class RankStarted(KnownEvent, teller="the harness"):
    """A node's agent has reported that a rank's process, ``process``, was started."""

    node: str
    group: str
    rank: int
    local_rank: int
    process: int
    log: str


class TrainStarted(KnownEvent, teller="the trainer"):
    """A rank begins to train after ``step``."""

    world_size: Optional[int] = None
    step: Optional[float] = None


class TrainStep(KnownEvent, teller="the trainer"):
    """A rank has done a step; each field of the trainer's own that is a number gives a curve."""

    step: Optional[float] = None
    agent_steps: object = None
    loss: object = None
    reward: object = None


class CheckpointSaved(KnownEvent, teller="the trainer"):
    """A checkpoint was written."""

    path: object = None
    step: Optional[float] = None


class TrainFinished(KnownEvent, teller="the trainer"):
    """A rank is done; all ranks' parameters have the same ``digest``."""

    digest: object = None
    step: Optional[float] = None
    agent_steps: object = None
    seconds: Optional[float] = None


class RankExited(RankStarted, teller="the harness"):
    """A node's agent has reported a rank's end; a negative ``status`` is a signal's number."""

    status: int
    out_of_memory: Optional[bool] = None


class EvalFinished(KnownEvent, teller="rank 0's rollout"):
    """A trial has a score: of so many episodes, or else from that ``source``."""

    trial: int
    run: str
    score: float
    episodes: Optional[int] = None
    source: Optional[str] = None


class TrialPruned(KnownEvent, teller="rank 0's rollout"):
    """The strategy ends a trial early, as its ``score`` after a ``step`` is too bad."""

    trial: int
    run: str
    step: int
    score: float


class ObservationRecorded(KnownEvent, teller="rank 0's rollout"):
    """What came of a trial is recorded; ``retried`` says that its suggestion is tried again."""

    trial: int
    run: str
    score: Optional[float]
    cost: float
    failed: bool
    reason: str
    attempt: int
    retried: bool
    pruned: bool


class FolderReread(KnownEvent, teller="each node's rollout"):
    """A trial read what an earlier one wrote, or why that is ``unknown``."""

    trial: int
    files: Optional[Sequence[str]] = None
    count: Optional[int] = None
    unknown: Optional[str] = None


class RolloutFinished(KnownEvent, teller="each node's rollout"):
    """The rollout of a node is done; rank 0's says how many trials ended how."""

    completed: Optional[int] = None
    failed: Optional[int] = None
    retried: Optional[int] = None


class CommandExited(KnownEvent, teller="the harness"):
    """A node's rollout, or the command that takes its place, has ended."""

    node: str
    group: str
    status: int


class ApiReady(KnownEvent, teller="the control plane"):
    """The ports of the control plane answer, and that of W&B's stand-in if there is one."""

    host: str
    observatory_port: int
    cogweb_port: int
    wandb_port: Optional[int] = None
    packages_port: Optional[int] = None


class ApiRequest(KnownEvent, teller="the control plane"):
    """It was called, the ``call``-th time by that method and route; ``scripted``: as prescribed."""

    service: str
    method: str
    route: Optional[str]
    path: str
    call: int
    status: Optional[int]
    seconds: float
    scripted: Optional[bool] = None
    fault: Optional[str] = None
    rule: Optional[int] = None
    dropped: Optional[bool] = None


class PackageAsked(KnownEvent, teller="the control plane"):
    """A node's pip asks for the list of a package's files, or for one of them."""

    question: str
    package: str
    file: Optional[str] = None


class NodeNotice(KnownEvent, teller="the agent"):
    """All that runs on a node was told to end, within ``grace`` seconds."""

    signal: str
    grace: float
    groups: Sequence[str]


class NodeEnded(KnownEvent, teller="the agent"):
    """All of that is gone: exit statuses by group, and which had to be killed."""

    seconds: float
    ended: Mapping[str, Optional[int]]
    killed: Sequence[str]


class NodeLost(KnownEvent, teller="the harness"):
    """A node is gone that is waited for."""

    node: str
    how: str


class NodeRejoined(KnownEvent, teller="the harness"):
    """It has come back, after so many seconds."""

    node: str
    seconds: float


class OptimizerStep(KnownEvent, teller="what a fault put there"):
    """Torch's optimizer is about to do its ``step``-th step; told only where a fault waits."""

    step: int


class GroupClosing(KnownEvent, teller="what a fault put there"):
    """A process is about to leave its ``number``-th process group; told where a fault waits."""

    number: int


class FaultHappened(KnownEvent, teller="what a fault put there"):
    """A fault has struck inside a rank, or what a node starts; the other fields say how."""

    fault: str
    step: Optional[int] = None
    ahead: Optional[int] = None
    takes: Optional[int] = None
    raised: Optional[str] = None
    at: Optional[str] = None
    exits: Optional[int] = None
    reads: Optional[str] = None
    sleeps: Optional[str] = None
    holds: Optional[str] = None
    skipped: Optional[str] = None
    gradients: Optional[int] = None
    nan_before: Optional[int] = None
    nan: Optional[int] = None
    handed_off: Optional[Mapping[str, object]] = None
    started_with: Optional[Mapping[str, object]] = None
    command: Optional[Sequence[str]] = None


#: What an agent alone tells, of its node.
AGENTS_OWN = told_by("the agent")
