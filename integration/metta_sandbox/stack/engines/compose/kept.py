"""Containers that are kept for several scenarios of a run, which take turns in them."""

from __future__ import annotations

import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

from metta_sandbox.errors import StackError
from metta_sandbox.progress import Progress
from metta_sandbox.stack.engines.base import StackPlan
from metta_sandbox.stack.engines.compose.containers import write_logs
from metta_sandbox.stack.engines.compose.request import API_PORTS, HUB_PORT, MASTER_PORT
from metta_sandbox.stack.engines.compose.stack import ComposeStack
from metta_sandbox.stack.engines.compose.turns import (
    ask_all,
    left_in,
    lend,
    look_of,
    of_turn,
    problems_in,
    take_back,
    writable_elsewhere,
)

#: Seconds within which an engine has written what a container said.
_WRITTEN = 20.0
_LOOK = 0.05
#: Bytes of a container's log that are read again at the end of each turn, at most.
_LONGEST_LOG = 16 << 20


class KeptStack:
    """Nodes, hub and control plane that stay when a scenario is over.

    Each scenario finds them as they were at first, or another one gets new ones.

    Args:
        inner: The containers.
        plan: What they were made for; its folder holds what they see of this machine.
        known: What is known of the image, shared by all of a run that are made of it.

    """

    def __init__(self, inner: ComposeStack, plan: StackPlan, known: dict[str, list[str]]) -> None:
        self.inner = inner
        #: The scenario that was in it last.
        self.last = ""
        self._plan = plan
        self._folder = plan.folder
        self._known = known
        self._mark = ""
        self._up = False
        self._looks: tuple[tuple[object, ...], ...] = ()

    def up(self, progress: Progress) -> None:
        """Start all containers, unless they are there."""
        if not self._up:
            self.inner.up(progress)
            self._looks = tuple(look_of(own) for own in self._lent())
            self._up = True

    def begin(self, plan: StackPlan) -> None:
        """Begin a scenario's turn: start an agent in each container, and lend it the folders.

        Raises:
            StackError: Somebody does not answer.

        """
        self._mark = f"turn {secrets.token_hex(8)}"
        for own, place in zip(self._lent(), _places(plan), strict=True):
            lend(own, place)
        env = {"SKYPILOT_TASK_ID": plan.task}
        requests = {
            name: {
                "type": "begin",
                "mark": self._mark,
                "env": env if service in self._plan.hosts else {},
            }
            for service, name in self.inner.containers().items()
        }
        if problems := problems_in(ask_all(requests)):
            for own, place in zip(self._lent(), _places(plan), strict=True):
                take_back(own, place)
            raise StackError(f"no turn begins: {'; '.join(problems)}")

    def end(self, plan: StackPlan) -> list[str]:
        """End a scenario's turn, and leave it its logs and what its nodes shared.

        Returns:
            What is not as it was; then all containers have ended.

        Raises:
            StackError: The engine was gone, for a while at least.

        """
        try:
            left = self._end_turn()
            if left:
                self.inner.collect()
        finally:
            self._leave_evidence(plan)
            for own, place in zip(self._lent(), _places(plan), strict=True):
                take_back(own, place)
        if not left and tuple(look_of(own) for own in self._lent()) != self._looks:
            left = ["the folder that nodes share is not what it was"]
        self.last = plan.scenario
        return left

    def _end_turn(self) -> list[str]:
        names = self.inner.containers()
        requests = {
            name: {"type": "end", "ports": self._shareable(service)}
            for service, name in names.items()
        }
        left = left_in(ask_all(requests))
        if left:
            return left
        if "writable" not in self._known:
            found = writable_elsewhere(names[self._plan.hosts[0]])
            self._known["writable"] = found
        if elsewhere := self._known["writable"]:
            return [f"nodes could have written to {', '.join(elsewhere[:3])}"]
        return self._read_logs()

    def _shareable(self, service: str) -> list[int]:
        """List the ports on which the next listens though the kernel has not given them up yet.

        For a minute it keeps those of connections that were closed on this side. Hub, control
        plane and our rollout listen all the same (``SO_REUSEADDR``), and let nobody else do so.
        """
        if service in self._plan.hosts:
            return [MASTER_PORT] if self._plan.provision.bundled_rollout else []
        return [HUB_PORT, *API_PORTS]

    def _read_logs(self) -> list[str]:
        """Have all logs whole; say if they have grown too long to be read once more."""
        deadline = time.monotonic() + _WRITTEN
        while True:
            write_logs(self._logs())
            logs = [path.read_bytes() for path in self._logs().values()]
            if any(len(log) > _LONGEST_LOG for log in logs):
                return ["its nodes have said too much"]
            if all(of_turn(log, self._mark)[1] for log in logs):
                return []
            if time.monotonic() > deadline:
                return ["the engine has not all that was said"]
            time.sleep(_LOOK)

    def _leave_evidence(self, plan: StackPlan) -> None:
        if (asked := self._folder / "compose.yaml").exists():
            shutil.copyfile(asked, plan.folder / asked.name)
        (plan.folder / "logs").mkdir(exist_ok=True)
        for path in self._logs().values():
            if path.exists():
                part, _ = of_turn(path.read_bytes(), self._mark)
                (plan.folder / "logs" / path.name).write_bytes(part)
                path.unlink()

    def _logs(self) -> dict[str, Path]:
        return {
            name: self._folder / "logs" / f"{service}.log"
            for service, name in self.inner.containers().items()
        }

    def _lent(self) -> tuple[Path, Path]:
        return self._folder / "shared", self._folder / "api"

    def down(self) -> None:
        """Remove all containers, and the folder."""
        try:
            self.inner.down()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
            with suppress(OSError):  # there are others
                self._folder.parent.rmdir()


def _places(plan: StackPlan) -> tuple[Path, Path]:
    return plan.run_folder, plan.folder / "api"
