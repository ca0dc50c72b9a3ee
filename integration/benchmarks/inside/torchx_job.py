"""A trial with TorchX's ``local_docker``: two replicas of one rank each."""
# ruff: noqa: INP001 - started by its path, in an interpreter that is not ours

import contextlib
import sys
from typing import Any

import docker
from answering import serve
from torchx.components.dist import ddp
from torchx.runner import get_runner
from torchx.schedulers.docker_scheduler import LABEL_APP_ID, NETWORK
from torchx.specs import AppState

image, folder = sys.argv[1:]
engine = docker.from_env()
had_network = bool(engine.networks.list(names=[f"^{NETWORK}$"]))
made = []


def remove() -> None:
    """Remove what TorchX leaves behind."""
    while made:
        label = f"{LABEL_APP_ID}={made.pop()}"
        for container in engine.containers.list(all=True, filters={"label": label}):
            container.remove(force=True, v=True)


with get_runner("bench") as runner:

    def work(request: dict[str, Any]) -> dict[str, Any]:
        """Run one trial; or clear up after it."""
        if "clear" in request:
            remove()
            return {}
        # The image's id, so that it is not looked for in a registry; no limits of CPU and memory,
        # as for everybody; looked at a hundred times as often as TorchX does by itself.
        job = ddp(
            script="/bench/ddp.py",
            image=image,
            j="2x1",
            cpu=-1,
            memMB=-1,
            env={"OMP_NUM_THREADS": "1"},
            mounts=["type=bind", f"src={folder}", "dst=/bench", "readonly"],
        )
        handle = runner.run(job, "local_docker")
        made.append(handle.rpartition("/")[2])
        status = runner.wait(handle, wait_interval=0.1)
        if status is None or status.state is not AppState.SUCCEEDED:
            raise RuntimeError(f"the trial ended as {status}")
        return {}

    try:
        serve(work)
    finally:
        remove()
        if not had_network:
            for network in engine.networks.list(names=[f"^{NETWORK}$"]):
                # Somebody else's containers may be in it by now.
                with contextlib.suppress(docker.errors.APIError):
                    network.remove()
