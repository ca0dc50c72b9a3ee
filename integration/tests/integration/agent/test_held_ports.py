"""Ports that are chosen by one process and bound by another, beside one that takes any it can."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist

from metta_sandbox.ports import HeldPort

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ports are held on Linux alone")

#: Takes port after port, by all ways in which a kernel chooses one, and keeps each for a while.
TAKER = """
import collections, itertools, resource, socket, sys
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
many = min(hard - 64, 8000)
kept = collections.deque()
server = socket.create_server(("127.0.0.1", 0))
for number in itertools.count():
    one = socket.socket()
    if number % 4 == 3:
        one.connect(server.getsockname())
        server.accept()[0].close()
    else:
        if number % 4:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("" if number % 4 == 1 else "127.0.0.1", 0))
        one.listen()
    kept.append(one)
    if len(kept) > many:
        if number == many:
            print("busy", flush=True)
        kept.popleft().close()
"""


@contextmanager
def taking() -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", TAKER], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "busy\n"
        try:
            yield
        finally:
            assert process.poll() is None
            process.kill()


def serve(port: int, late: float) -> None:
    """Be rank 0, which is started after the port was chosen."""
    time.sleep(late)
    store = dist.TCPStore(  # type: ignore[attr-defined]
        "127.0.0.1", port, 1, is_master=True, timeout=timedelta(seconds=20)
    )
    store.set("said", "so")
    assert store.get("said") == b"so"
    # Without the end of an interpreter that has threads of torch's.
    os._exit(0)


@pytest.mark.parametrize("starts", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_no_store_finds_its_port_taken(starts: int) -> None:
    context = multiprocessing.get_context("fork")
    with taking():
        for number in range(starts):
            with HeldPort() as port:
                rank = context.Process(target=serve, args=(port.number, (number % 5) * 0.1))
                rank.start()
                rank.join(60)
                assert rank.exitcode == 0


def test_torchrun_finds_its_port_free(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import torch.distributed as dist\n"
        "dist.init_process_group('gloo'); dist.barrier(); dist.destroy_process_group()\n"
    )
    with taking(), HeldPort() as port:
        address = ("--master-addr=127.0.0.1", f"--master-port={port.number}")
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", *address]
        done = subprocess.run([*command, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
