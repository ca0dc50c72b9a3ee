"""What harness, hub, agents and the processes of a node say to each other, each as one JSON object.

``type`` tells them apart. What may be left out is ``NotRequired``; ``node`` is the hub's to say.
"""

from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    List,
    Literal,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    TypedDict,
    Union,
    overload,
)

from metta_sandbox.node.agent.events import Record

if TYPE_CHECKING:
    from typing import NotRequired, Unpack

#: What an agent can be asked for.
Verb = Literal[
    "start", "signal", "stop", "groups", "processes", "dispositions", "room", "signal-process",
    "arm", "order", "notice",
]  # fmt: skip


#: From which template a program is forked: any that is there; one of the node's own, which is
#: started if there is none; or such a one that imports for programs to come, too.
Template = Literal["any", "own", "kept"]


class Args(TypedDict, total=False):
    """What a request carries; which of these, its verb says."""

    group: str
    command: List[str]
    env: Dict[str, str]
    cwd: Optional[str]
    log: Optional[str]
    template: Optional[Template]
    grace: float
    signal: int
    rank: int
    pid: int
    folder: str
    arms: List["ArmSaid"]
    order: "Order"
    within: float


class ArmSaid(TypedDict):
    """An event that is waited for; see ``wire.Arm``."""

    id: str
    match: Mapping[str, Any]


class Order(TypedDict):
    """What is ordered of a rank, for the sake of a fault; what else each order takes."""

    do: Literal[
        "look", "clocks", "clock", "sleep", "hold_gil", "nan_gradients", "skip_collective", "raise",
        "exit", "segfault", "out_of_memory",
    ]  # fmt: skip
    fault: "NotRequired[str]"
    ahead: "NotRequired[int]"
    at_most: "NotRequired[int]"
    exception: "NotRequired[str]"
    message: "NotRequired[str]"
    status: "NotRequired[int]"


class SentOrder(Order):
    """An order on its way."""

    type: Literal["order"]
    id: int


class Seen(TypedDict, total=False):
    """What a rank says to an order: to ``look``, to ``clocks``, or why it can't follow it.

    Of a clock it says between which two numbers of nanoseconds that is ahead of the kernel's.
    """

    main: str
    wall: Sequence[int]
    monotonic: Sequence[int]
    error: str


class ProcessState(TypedDict):
    """A live process; ``state`` is a letter of ``proc(5)``."""

    pid: int
    state: str
    command: str


class Room(TypedDict):
    """How much can be written to a disk.

    ``free`` are bytes; ``refused`` is why no file could be written, as ``errno`` names it, or
    nothing.
    """

    free: int
    refused: str


class RankState(TypedDict):
    """The process of a rank, as its node's agent knows it."""

    rank: int
    local_rank: int
    pid: int
    status: Optional[int]
    log: str


class _Group(TypedDict):
    group: str
    pid: int
    command: List[str]
    ranks: List[RankState]


class GroupState(_Group):
    """A process group, as its node's agent knows it."""

    status: Optional[int]


class Started(TypedDict):
    """A process group that was started."""

    pid: int


class Sign(TypedDict):
    """A message without content, mostly a sign of life."""

    type: Literal["beat", "harness-gone", "noted", "ping", "relayed"]


class AgentSign(TypedDict):
    """A message without content from an agent: it lives, or has stopped what a harness left."""

    type: Literal["idle", "pong"]


class Request(TypedDict):
    """Somebody asks an agent for something, the harness through the hub."""

    type: Literal["request"]
    id: int
    to: "NotRequired[str]"
    verb: Verb
    args: Args


class Answer(TypedDict):
    """What came of a request: ``gone`` says that no agent is there, ``lost`` that no hub is."""

    ok: bool
    result: "NotRequired[Any]"
    error: "NotRequired[str]"
    gone: "NotRequired[bool]"
    lost: "NotRequired[bool]"


class Reply(Answer):
    """An answer on its way."""

    type: Literal["reply"]
    id: int
    node: "NotRequired[str]"


class Lines(TypedDict):
    """What something on a node has printed."""

    type: Literal["lines"]
    source: str
    lines: List[str]
    node: "NotRequired[str]"


class Exit(_Group):
    """A process group has ended; ``ending`` says that its agent was told to end before."""

    type: Literal["exit"]
    status: int
    ending: "NotRequired[bool]"
    node: "NotRequired[str]"


class Emitted(TypedDict):
    """An event, and the arms that hold whoever emits it."""

    type: Literal["event"]
    record: Record
    held: List[str]
    node: "NotRequired[str]"


class RankTold(TypedDict):
    """A rank's process was started, or has ended; ``start`` is the length its log had before."""

    type: Literal["rank-started", "rank-exited"]
    group: str
    rank: int
    local_rank: int
    pid: int
    log: str
    start: "NotRequired[int]"
    status: "NotRequired[int]"
    out_of_memory: "NotRequired[bool]"
    mono: "NotRequired[float]"
    wall: "NotRequired[float]"
    node: "NotRequired[str]"


# -- who comes in at the hub --------------------------------------------------------------


class Registered(TypedDict):
    """An agent is there; ``key`` proves that it is its node's."""

    type: Literal["registered"]
    node: str
    address: str
    pid: int
    python: str
    platform: str
    mono: float
    wall: float
    key: "NotRequired[str]"


class HarnessHello(TypedDict):
    """The harness is there."""

    type: Literal["harness"]
    key: str


class WhoIsThere(TypedDict):
    """Somebody asks which nodes' agents are there, and is told."""

    type: Literal["nodes"]
    nodes: "NotRequired[List[str]]"


# -- what the hub says by itself ----------------------------------------------------------


class Refused(TypedDict):
    """The hub does not let a connection in."""

    type: Literal["refused"]
    reason: str


class Lost(TypedDict):
    """A node's agent has gone."""

    type: Literal["lost"]
    node: str


class Still(TypedDict):
    """Agents give no sign of life, for so many seconds each, ``of`` so many."""

    type: Literal["still"]
    nodes: Dict[str, float]
    of: int


class TurnedAway(TypedDict):
    """The hub closed a connection, as what came over it was not that sender's to say."""

    type: Literal["turned-away"]
    node: str
    reason: str


class Gone(TypedDict):
    """The other end is gone, or a part of the line stands still; said by whoever notices."""

    type: Literal["gone"]
    reason: str
    still: bool


# -- between an agent and the processes of its node ---------------------------------------


class EmitterHello(TypedDict):
    """An emitter is there."""

    type: Literal["hello"]
    pid: int
    who: "NotRequired[Mapping[str, Any]]"


class Arms(TypedDict):
    """All events that are armed."""

    type: Literal["arms"]
    arms: List[ArmSaid]


class InjectorHello(TypedDict):
    """A rank takes orders."""

    type: Literal["injector"]
    rank: int
    pid: int


class Obeyed(TypedDict):
    """What came of an order."""

    type: Literal["obeyed"]
    id: int
    result: Seen


class StandsFor(TypedDict):
    """The process of a group stands for another one; see ``fork_server.proxy``."""

    type: Literal["stands-for"]
    group: str
    pid: int


#: What an agent says of its node once it is registered; the hub hears nothing else of it.
OfAgent = Union[Emitted, Lines, Exit, RankTold, Reply, AgentSign]
#: What the harness takes in.
Heard = Union[Registered, Emitted, Lines, Exit, RankTold, Lost, Still, TurnedAway, Gone]
#: What the harness reads.
ToHarness = Union[Heard, Reply, Refused, Sign]
#: What the hub reads of the harness.
FromHarness = Union[Request, AgentSign]
#: What an agent reads, of the hub; and of its node's processes.
ToAgent = Union[Request, Refused, Sign]
OfProcess = Union[EmitterHello, Emitted, Request, InjectorHello, Obeyed, RankTold, StandsFor]
#: What a process of a node is told of its agent.
ToProcess = Union[Arms, Emitted, Exit, Reply, SentOrder, Sign]
#: The first that somebody says to a hub.
HubHello = Union[Registered, HarnessHello, WhoIsThere]
#: All that goes out over an ``Outlet``.
Message = Union[ToHarness, ToAgent, ToProcess, AgentSign, WhoIsThere]


class Asks(Protocol):
    """Asks a node's agent for something, and returns what came of it, whose type the verb tells."""

    @overload
    def __call__(
        self, node: str, verb: Literal["start"], /, *, patience: float = ..., **args: "Unpack[Args]"
    ) -> Started: ...

    @overload
    def __call__(
        self, node: str, verb: Literal["stop"], /, *, patience: float = ..., **args: "Unpack[Args]"
    ) -> GroupState: ...

    @overload
    def __call__(
        self, node: str, verb: Literal["groups"], /, *, patience: float = ...
    ) -> List[GroupState]: ...

    @overload
    def __call__(
        self, node: str, verb: Literal["processes"], /, *, patience: float = ...
    ) -> List[ProcessState]: ...

    @overload
    def __call__(
        self,
        node: str,
        verb: Literal["dispositions"],
        /,
        *,
        patience: float = ...,
        pid: int,
        signal: int,
    ) -> List[str]: ...

    @overload
    def __call__(
        self, node: str, verb: Literal["room"], /, *, patience: float = ..., folder: str
    ) -> Room: ...

    @overload
    def __call__(
        self,
        node: str,
        verb: Literal["order"],
        /,
        *,
        patience: float = ...,
        rank: int,
        order: Order,
        within: float,
    ) -> Seen: ...

    @overload
    def __call__(
        self,
        node: str,
        verb: Literal["signal", "signal-process", "arm", "notice"],
        /,
        *,
        patience: float = ...,
        **args: "Unpack[Args]",
    ) -> None: ...
