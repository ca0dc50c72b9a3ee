"""Carries the harness's connection over standard input and output (through ``docker exec -i``)."""

import os
import socket
import sys
import threading
import time

from metta_sandbox.node.agent.address import Address
from metta_sandbox.node.agent.wire import encode


def relay(address: Address, patience: float = 20.0) -> int:
    """Connect to the hub and copy both ways until either side ends.

    Args:
        address: Where the hub listens.
        patience: Seconds within which the hub must answer.

    """
    channel = _connect(address, time.monotonic() + patience)
    channel.sendall(encode({"type": "harness"}))
    threading.Thread(target=_copy_in, args=(channel,), daemon=True).start()
    while True:
        data = channel.recv(65536)
        if not data:
            return 0
        try:
            _write_all(data)
        except BrokenPipeError:
            return 0


def _connect(address: Address, deadline: float) -> socket.socket:
    while True:
        try:
            return address.connect()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _copy_in(channel: socket.socket) -> None:
    while True:
        data = os.read(sys.stdin.fileno(), 65536)
        if not data:
            break
        channel.sendall(data)
    channel.shutdown(socket.SHUT_RDWR)


def _write_all(data: bytes) -> None:
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]
