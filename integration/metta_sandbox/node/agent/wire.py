"""The wire between harness, hub, agents and emitters: one JSON object a line."""

import json
import os
import socket
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping

if TYPE_CHECKING:  # trainers that emit have no need of it
    from metta_sandbox.node.agent.events import Record
    from metta_sandbox.node.agent.messages import ArmSaid

#: A line longer than this is a broken peer, not a message. Also, a reader keeps twice as much.
LONGEST_LINE = 1 << 20
#: Seconds without a sign of life after which somebody stands still, on a machine that is not busy.
STILL = 6.0


def encode(message: Mapping[str, object]) -> bytes:
    """Write a message as one line of JSON."""
    return json.dumps(message, separators=(",", ":"), default=plain).encode() + b"\n"


def plain(value: Any) -> Any:
    """Turn what JSON has no word for into a number (scalars of numpy and torch) or a text."""
    item = getattr(value, "item", None)
    if callable(item):
        try:
            return item()
        except (RuntimeError, TypeError, ValueError):
            pass
    return str(value)


def own_bounds() -> List[int]:
    """Read how many files this process may have open: soft and hard."""
    import resource  # noqa: PLC0415 - of those who speak over the wire, few ask

    return list(resource.getrlimit(resource.RLIMIT_NOFILE))


def own_environ() -> Dict[str, str]:
    """Give this process's environment so that ``native`` makes the same bytes of it anywhere.

    Interpreters read bytes by their locale, and two that speak with each other may differ in it.
    """
    return {_text(name): _text(value) for name, value in os.environ.items()}


def native(text: str) -> str:
    """Give a word or a variable as this interpreter would have read it at its start."""
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))


def _text(word: str) -> str:
    return os.fsencode(word).decode("utf-8", "surrogateescape")


def decode(line: bytes) -> Any:
    """Read a message, a dictionary; whoever reads it says what of ``messages`` it may be.

    Raises:
        ValueError: The line is not a JSON object.

    """
    try:
        message = json.loads(line)
    except RecursionError:
        raise ValueError(f"not a message: {line[:80]!r}") from None
    if not isinstance(message, dict):
        raise ValueError(f"not a message: {line[:80]!r}")
    return message


class LineReader:
    """Cuts a stream of bytes into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> List[bytes]:
        """Take in bytes and return the lines that are now complete, without their newline.

        Raises:
            ValueError: A line grows beyond ``LONGEST_LINE``.

        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            raise ValueError("a message without an end")
        return lines


def dial(path: str) -> socket.socket:
    """Connect to a local socket.

    Raises:
        OSError: Nobody listens there (yet).

    """
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        channel.connect(path)
    except OSError:
        channel.close()
        raise
    return channel


def receive_each(channel: socket.socket) -> Iterator[Any]:
    """Read all messages that the other side of a blocking connection has to say.

    Raises:
        OSError: The connection is broken, or closed before the next message came.

    """
    reader = LineReader()
    while True:
        data = channel.recv(65536)
        if not data:
            raise ConnectionError("the other side has closed the connection")
        for line in reader.feed(data):
            yield decode(line)


def receive_one(channel: socket.socket) -> Any:
    """Read the one message that the other side of a blocking connection has to say.

    Raises:
        OSError: The connection is broken, or closed before a whole message came.

    """
    return next(receive_each(channel))


class Arm:
    """An event somebody waits for: whoever emits a matching one is held until released.

    Args:
        id: Its name; releasing goes by it.
        match: Fields an event must have, each equal to the value given (``event`` among them).

    """

    def __init__(self, id: str, match: Mapping[str, Any]) -> None:  # noqa: A002 - the wire's word
        self.id = id
        self.match = dict(match)

    def matches(self, record: "Record") -> bool:
        """Tell whether an event is one that this arm waits for."""
        return all(record.get(key) == value for key, value in self.match.items())

    def to_wire(self) -> "ArmSaid":
        """Build the arm's message."""
        return {"id": self.id, "match": self.match}

    @classmethod
    def from_wire(cls, message: "ArmSaid") -> "Arm":
        """Read an arm's message."""
        return cls(message["id"], message["match"])
