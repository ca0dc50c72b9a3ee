"""Carries the harness's connection over standard input and output (through ``docker exec -i``).

Among what the hub says it gives a sign of its own life every second, so that the harness can tell
which of the two stands still.
"""

import os
import select
import socket
import sys
import threading
import time
from typing import List

from metta_sandbox.node.agent.address import Address
from metta_sandbox.node.agent.wire import LONGEST_LINE, encode, receive_one

#: Seconds between two signs of life.
_BEAT = 1.0
_SIGN = encode({"type": "relayed"})


def relay(address: Address, patience: float = 20.0) -> int:
    """Connect to the hub and copy both ways until either side ends. Returns the exit status.

    What ends it is said on standard error, for whoever is left to read it.

    Args:
        address: Where the hub listens.
        patience: Seconds within which the hub must answer.

    """
    try:
        channel = _connect(address, time.monotonic() + patience)
    except OSError as error:
        sys.stderr.write(f"no hub within {patience:g} s: {error}\n")
        return 1
    threading.Thread(target=_copy_in, args=(channel,), daemon=True).start()
    try:
        _copy_out(channel)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
    sys.stderr.write("the hub has closed the connection\n")
    return 0


def _connect(address: Address, deadline: float) -> socket.socket:
    while True:
        try:
            return address.connect()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _copy_out(channel: socket.socket) -> None:
    """Copy what the hub says, in whole lines, with signs of life in between."""
    rest, due = b"", 0.0
    while True:
        if time.monotonic() >= due:
            _write_all(_SIGN)
            due = time.monotonic() + _BEAT
        if not select.select([channel], [], [], max(0.0, due - time.monotonic()))[0]:
            continue
        data = channel.recv(65536)
        if not data:
            _write_all(rest)
            return
        whole, newline, begun = data.rpartition(b"\n")
        if newline:
            _write_all(rest + whole + newline)
            rest = b""
        rest += begun
        if len(rest) > LONGEST_LINE:
            raise OSError("the hub says a line without an end")


def _copy_in(channel: socket.socket) -> None:
    try:
        while True:
            data = os.read(sys.stdin.fileno(), 65536)
            if not data:
                break
            channel.sendall(data)
        channel.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The hub has gone, which the other direction sees and says.
        return
    # The harness has left. Nobody may read what the other direction is still writing.
    os._exit(0)


def _write_all(data: bytes) -> None:
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


def connected_nodes(address: Address, patience: float) -> List[str]:
    """Ask a hub which nodes' agents are connected to it.

    Raises:
        OSError: It is not there, or gave no answer in time.

    """
    with address.connect() as channel:
        channel.settimeout(patience)
        channel.sendall(encode({"type": "nodes"}))
        return list(receive_one(channel)["nodes"])
