"""Processes that have imported torch once for a run; nodes' warm servers and rollouts are forks.

For local processes alone: a process can't be forked into another container. See
``metta_sandbox.node.agent.fork_server.template`` for what one is, and why nothing of a scenario
stays in it.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from metta_sandbox.node.agent.fork_server.environ_block import with_room
from metta_sandbox.node.agent.fork_server.spawn import rollout_of, template_command
from metta_sandbox.node.agent.processes import dying_with_this
from metta_sandbox.stack.agent_app import install


class Templates:
    """A template for each of the first nodes of a run's stacks.

    A node's own, since two nodes never share what is drawn when an interpreter starts, such as the
    order of sets of strings; a trainer that relies on it must fail here, too.

    Args:
        folder: Where the run's stacks have their folders.
        python: The nodes' interpreter.
        environment: What a node's environment is, but for its folders.

    """

    def __init__(self, folder: Path, python: str, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._python = python
        self._environment = environment
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, nodes: int) -> None:
        """Begin to import. Call it in the main thread, with which they end, however that does."""
        for index in range(nodes):
            # What is ours lies beside its home, which imports may remember.
            folder = self._folder / f"template-{index}"
            home = folder / "home"
            (home / "tmp").mkdir(parents=True)
            with (folder / "log").open("wb") as log:
                self._processes.append(
                    subprocess.Popen(
                        template_command(
                            self._python,
                            str(install(folder)),
                            str(folder / "socket"),
                            programs=rollout_of(index, there=False),
                        ),
                        cwd=home,
                        env=with_room(
                            {**self._environment, "HOME": str(home), "TMPDIR": str(home / "tmp")}
                        ),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                        preexec_fn=dying_with_this(),  # noqa: PLW1509 - no thread is at work yet
                    )
                )

    def stop(self) -> None:
        """End them, and what was forked from them; remove their folders."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        for folder in self._folder.glob("template-*"):
            shutil.rmtree(folder, ignore_errors=True)
