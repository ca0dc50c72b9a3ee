"""One trial's launcher, forked from a warm server: it forks the ranks of its node and waits.

It stands where ``torchrun`` stands and does what that does with ``--max-restarts=0`` and a static
rendezvous (torch/distributed/elastic/agent/server/api.py): the same variables for each rank, a
store on node 0 that all ranks connect to, the first failure ends the other ranks, and a node that
succeeded waits for the others before its store goes.
"""

import os
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from datetime import timedelta
from typing import Any, Dict, List, Optional

from metta_sandbox.node.agent.fork_server.rank import become_rank
from metta_sandbox.node.agent.processes import dying_with_this
from metta_sandbox.node.agent.rank import Report, own_folder
from metta_sandbox.node.agent.safe_open import plain
from metta_sandbox.node.agent.wire import LineReader, decode, native

#: Seconds that ranks get to end once they are told to: torchrun's own default.
_GRACE = 30.0
#: Seconds that a node waits for the others once its ranks have succeeded: torchrun's own default.
_BARRIER = 300.0
#: What torchrun ends with when a rank failed, or a signal stopped it.
_FAILED = 1


class _Rank:
    """A rank's process, with what its agent is told of it."""

    def __init__(self, pid: int, about: Dict[str, Any]) -> None:
        self.pid = pid
        self.about = about
        self.status: Optional[int] = None
        self.report: Optional[Report] = None

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def launch_ranks(caller: socket.socket, request: Dict[str, Any]) -> int:
    """Fork the ranks of one node, and return what torchrun would exit with.

    Args:
        caller: Whoever asked; signals come from there, and its end is the trial's.
        request: ``env``, ``cwd``, ``group`` (see ``rank_environment``), ``log_folder`` and
            ``program`` (see ``rank.become_rank``).

    """
    os.setsid()
    os.environ.clear()
    os.environ.update({native(name): native(value) for name, value in request["env"].items()})
    os.chdir(request["cwd"])
    errors = tempfile.mkdtemp(prefix="torchelastic_")
    # Ranks that connect before the store is there would wait for half a second.
    store_socket = _listen(request["group"])
    # Before a rank is forked, so that none of their ends is missed.
    wake, woken = socket.socketpair()
    for end in (wake, woken):
        end.setblocking(False)
    ours = [caller, wake, woken, *([] if store_socket is None else [store_socket])]
    ranks = [
        _fork_rank(request, local_rank, os.path.join(errors, f"{local_rank}.json"), ours)
        for local_rank in range(request["group"]["ranks_per_node"])
    ]
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    # From here on there may be threads: nothing is forked any more.
    for rank in ranks:
        rank.report = Report(rank.about, rank.pid)
        rank.report.started()
    try:
        store = _open_store(request["group"], store_socket)
        status = _Watch(caller, wake, ranks).wait()
        if status == 0:
            _wait_for_other_nodes(store, request["group"])
        return status
    finally:
        for rank in ranks:
            rank.signal(signal.SIGKILL)
        shutil.rmtree(errors, ignore_errors=True)


def rank_environment(group: Dict[str, Any], local_rank: int, error_file: str) -> Dict[str, str]:
    """Build the variables that torchrun gives to one rank.

    Args:
        group: ``num_nodes``, ``node_rank``, ``ranks_per_node``, ``master_addr``, ``master_port``.
        local_rank: The rank's index on its node.
        error_file: Where ``torch.distributed.elastic``'s ``record`` writes an exception.

    """
    places = group["ranks_per_node"]
    rank, world_size = group["node_rank"] * places + local_rank, group["num_nodes"] * places
    return {
        "LOCAL_RANK": str(local_rank),
        "RANK": str(rank),
        "GROUP_RANK": str(group["node_rank"]),
        "ROLE_RANK": str(rank),
        "ROLE_NAME": "default",
        "LOCAL_WORLD_SIZE": str(places),
        "WORLD_SIZE": str(world_size),
        "GROUP_WORLD_SIZE": str(group["num_nodes"]),
        "ROLE_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": str(group["master_addr"]),
        "MASTER_PORT": str(group["master_port"]),
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "0",
        "TORCHELASTIC_RUN_ID": "none",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_ERROR_FILE": error_file,
        "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": os.environ.get("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1"),
    }


def _fork_rank(
    request: Dict[str, Any], local_rank: int, error_file: str, ours: List[socket.socket]
) -> _Rank:
    environment = rank_environment(request["group"], local_rank, error_file)
    log_folder = request["log_folder"]
    path = os.path.join(log_folder, f"rank-{environment['RANK']}.log")
    os.makedirs(log_folder, exist_ok=True)
    environment.update(own_folder(os.environ, log_folder, int(environment["RANK"])))
    with open(path, "ab", opener=plain) as log:
        about = {
            "group": os.environ.get("METTA_GROUP", ""),
            "rank": int(environment["RANK"]),
            "local_rank": local_rank,
            "log": path,
            "start": log.tell(),
        }
        with_this = dying_with_this()
        pid = os.fork()
        if pid:
            return _Rank(pid, about)
        try:
            os.setsid()
            with_this()
            for one in ours:
                one.close()
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            log.close()
            os.environ.update(environment)
            become_rank(request["program"])
        except BaseException:  # noqa: BLE001 - it must not end without a word
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(_FAILED)


def _distributed() -> Any:
    """Return ``torch.distributed``, if the warm process has imported it."""
    return sys.modules.get("torch.distributed")


def _listen(group: Dict[str, Any]) -> Optional[socket.socket]:
    """Listen where all ranks meet, on node 0; not for programs without torch.

    Raises:
        OSError: The port is taken.

    """
    if group["node_rank"] != 0 or _distributed() is None:
        return None
    with suppress(OSError):
        return socket.create_server(
            ("", group["master_port"]), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128
        )
    return socket.create_server(("", group["master_port"]), backlog=128)


def _open_store(group: Dict[str, Any], listener: Optional[socket.socket]) -> Any:
    """Serve the store that all ranks connect to, on node 0."""
    if listener is None:
        return None
    return _distributed().TCPStore(
        group["master_addr"],
        group["master_port"],
        group["num_nodes"],
        is_master=True,
        wait_for_workers=False,
        multi_tenant=True,
        master_listen_fd=listener.detach(),
    )


def _wait_for_other_nodes(store: Any, group: Dict[str, Any]) -> None:
    """Keep node 0's store until the ranks of all nodes have ended; others tell that theirs have.

    Only a node that succeeded waits, and none that waits in vain fails for it, as under torchrun.
    """
    if group["num_nodes"] == 1 or _distributed() is None:
        return
    with suppress(RuntimeError):  # torch's own, when the other side is gone or late
        if store is None:
            store = _distributed().TCPStore(
                group["master_addr"],
                group["master_port"],
                group["num_nodes"],
                is_master=False,
                wait_for_workers=False,
                timeout=timedelta(seconds=_GRACE),
            )
            store.set(f"metta/over/{group['node_rank']}", "")
            return
        others = [f"metta/over/{node}" for node in range(1, group["num_nodes"])]
        store.wait(others, timedelta(seconds=_BARRIER))


class _Watch:
    """Waits for ranks to end, and for signals from the process that asked for them."""

    def __init__(self, caller: socket.socket, wake: socket.socket, ranks: List[_Rank]) -> None:
        self._caller = caller
        self._wake = wake
        self._ranks = ranks
        self._reader = LineReader()
        self._status = 0
        self._kill_at: Optional[float] = None

    def wait(self) -> int:
        """Return 0 if every rank ended with 0, else what torchrun exits with."""
        selector = selectors.DefaultSelector()
        selector.register(self._caller, selectors.EVENT_READ)
        selector.register(self._wake, selectors.EVENT_READ)
        while self._reap():
            patience = None if self._kill_at is None else self._kill_at - time.monotonic()
            if patience is not None and patience <= 0:
                self._signal(signal.SIGKILL)
                patience = None
            for key, _ in selector.select(patience):
                if key.fileobj is self._wake:
                    self._wake.recv(4096)
                else:
                    self._hear()
        return self._status

    def _reap(self) -> bool:
        """Note who has ended; True while a rank lives."""
        for rank in self._ranks:
            if rank.status is not None:
                continue
            pid, status = os.waitpid(rank.pid, os.WNOHANG)
            if not pid:
                continue
            rank.status = os.waitstatus_to_exitcode(status)
            if rank.report is not None:
                rank.report.ended(rank.status)
            if rank.status != 0:
                self._fail(f"rank {rank.about['rank']} {_end(rank.status)}", signal.SIGTERM)
        return any(rank.status is None for rank in self._ranks)

    def _fail(self, reason: str, number: int) -> None:
        if self._status == 0:
            sys.stderr.write(f"warm: {reason}; ending the ranks of this node\n")
            sys.stderr.flush()
            self._status, self._kill_at = _FAILED, time.monotonic() + _GRACE
            self._signal(number)

    def _signal(self, number: int) -> None:
        for rank in self._ranks:
            if rank.status is None:
                rank.signal(number)

    def _hear(self) -> None:
        data = self._caller.recv(4096)
        if not data:
            # Whoever asked was killed; so would torchrun have been, and its ranks with it.
            self._status = _FAILED
            self._signal(signal.SIGKILL)
            self._caller.close()
            return
        for line in self._reader.feed(data):
            number = int(decode(line)["signal"])
            if number in (signal.SIGUSR1, signal.SIGUSR2):
                self._signal(number)
            else:
                self._fail(f"stopped by {signal.Signals(number).name}", number)


def _end(status: int) -> str:
    return f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
