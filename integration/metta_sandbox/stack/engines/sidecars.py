"""What is beside nodes to strike them from there, and is gone with whoever started it."""

from __future__ import annotations

import json
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from threading import Timer
from typing import Any

from metta_sandbox.errors import StackError

#: Seconds that one gets to be there, to answer beyond what it was told to wait for, and to end.
_STARTING, _ANSWERING, _ENDING = 30.0, 20.0, 5.0


class Sidecar:
    """A program beside a node, which lives as long as its standard input is open.

    Args:
        command: What starts it.
        host: The node or service that it is beside.
        address: That host's, where the sidecar is in its network.

    """

    def __init__(self, command: Sequence[str], host: str, address: str = "") -> None:
        self.host = host
        self.address = address
        # In a session of its own, so that Ctrl-C at the terminal does not end it before its time.
        self._client = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        #: What it has said first.
        self.greeting: Mapping[str, Any] = {}

    def await_ready(self) -> None:
        """Wait until the sidecar takes orders.

        Raises:
            StackError: It does not start, or can't do what it is for.

        """
        self.greeting = self._line(_STARTING)

    def ask(self, verb: str, patience: float = 0.0, **args: Any) -> Any:
        """Give the sidecar an order, and wait for its answer.

        Args:
            verb: What it is to do.
            patience: Seconds that this takes by itself.
            args: How it is to do that.

        Raises:
            StackError: It refuses, or is gone.

        """
        assert self._client.stdin is not None
        try:
            self._client.stdin.write(json.dumps({"verb": verb, "args": args}) + "\n")
            self._client.stdin.flush()
        except (OSError, ValueError):  # it has ended, or was ended
            raise StackError(f"nobody is beside {self.host} any more{self._saying()}") from None
        answer = self._line(patience + _ANSWERING)
        if "error" in answer:
            raise StackError(f"beside {self.host}: {answer['error']}")
        return answer["result"]

    def datagrams(self) -> tuple[str, int]:
        """Return the address and the port to which datagrams for it go."""
        return self.address, self.greeting["datagrams"]

    def connections(self) -> tuple[str, int]:
        """Return the address and the port to which connections to it go."""
        return self.address, self.greeting["connections"]

    def _line(self, patience: float) -> Any:
        assert self._client.stdout is not None
        # It is of no more use, once it is late.
        timer = Timer(patience, self._client.kill)
        timer.start()
        try:
            line = self._client.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise StackError(f"what is beside {self.host} does not answer{self._saying()}")
        return json.loads(line)

    def _saying(self) -> str:
        said = self.close().strip().splitlines()
        return f": {said[-1]}" if said else ""

    def close(self) -> str:
        """End the sidecar, and what it does to the node. Doing it twice is no error.

        Returns:
            What it, or the engine's client, complained of; nothing the second time.

        """
        said = ""
        self._end()
        for pipe in (self._client.stdout, self._client.stderr):
            assert pipe is not None
            if not pipe.closed:
                said = pipe.read()
                pipe.close()
        return said

    def _end(self) -> None:
        assert self._client.stdin is not None
        with suppress(OSError):
            self._client.stdin.close()
        try:
            self._client.wait(_ENDING)
        except subprocess.TimeoutExpired:
            self._client.kill()
            self._client.wait()


class Sidecars(ABC):
    """The sidecars beside the hosts of one stack, each started when it is first asked for."""

    def __init__(self) -> None:
        self._sidecars: dict[str, Sidecar] = {}

    @abstractmethod
    def make(self, hosts: Sequence[str]) -> Iterator[Sidecar]:
        """Start sidecars beside hosts, without waiting until they are ready.

        Raises:
            StackError: One can't be made.

        """

    def start(self, hosts: Sequence[str]) -> None:
        """Start the sidecars that are not there yet, all at once, and wait for them.

        Raises:
            StackError: One does not start.

        """
        wanted = [host for host in dict.fromkeys(hosts) if host not in self._sidecars]
        if not wanted:
            return
        made: list[Sidecar] = []
        try:
            made.extend(self.make(wanted))
            for sidecar in made:
                sidecar.await_ready()
        except StackError:
            for sidecar in made:
                sidecar.close()
            raise
        self._sidecars |= {sidecar.host: sidecar for sidecar in made}

    def beside(self, host: str) -> Sidecar:
        """Return the sidecar beside a host, starting it if it is not there.

        Raises:
            StackError: It does not start.

        """
        self.start([host])
        return self._sidecars[host]

    def close(self) -> None:
        """End all sidecars. Doing it twice is no error."""
        for sidecar in self._sidecars.values():
            sidecar.close()
        self._sidecars.clear()
