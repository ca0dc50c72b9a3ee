"""A trial with the Kubeflow SDK's container backend: two nodes of one rank each."""
# ruff: noqa: INP001 - started by its path, in an interpreter that is not ours

import sys
from pathlib import Path
from typing import Any

from answering import serve
from kubeflow.trainer import CustomTrainer, TrainerClient
from kubeflow.trainer.backends.container.types import (
    ContainerBackendConfig,
    TrainingRuntimeSource,
)

image, folder = sys.argv[1:]
source = (Path(folder) / "ddp.py").read_text()
#: The SDK starts login shells, which forget the image's PATH; they do import functions.
TORCHRUN = '() { /opt/metta/venv/bin/torchrun "$@"\n}'


def train(source: str, arguments: list[str]) -> None:
    """Run the script, which travels with the job: folders of one's own can't be mounted."""
    import sys  # noqa: PLC0415 - only what stands in here travels

    sys.argv[1:] = arguments
    exec(compile(source, "ddp.py", "exec"), {"__name__": "__main__"})  # noqa: S102


# Without sources its built-in runtimes are used; nothing is fetched.
client = TrainerClient(
    backend_config=ContainerBackendConfig(
        container_runtime="docker",
        pull_policy="Never",
        runtime_source=TrainingRuntimeSource(sources=[]),
    )
)
runtime = client.get_runtime("torch-distributed")
made: list[str] = []


def remove() -> None:
    """Delete jobs that are done."""
    while made:
        client.delete_job(made.pop())


def work(request: dict[str, Any]) -> dict[str, Any]:
    """Run one trial; or clear up after it."""
    if "clear" in request:
        remove()
        return {}
    name = client.train(
        runtime=runtime,
        trainer=CustomTrainer(
            func=train,
            func_args={"source": source, "arguments": request.get("arguments", [])},
            image=image,
            num_nodes=2,
            env={"OMP_NUM_THREADS": "1", "BASH_FUNC_torchrun%%": TORCHRUN},
        ),
    )
    made.append(name)
    # Looked at twenty times as often as by itself.
    client.wait_for_job_status(name, timeout=120, polling_interval=0.1)
    return {}


try:
    serve(work)
finally:
    remove()
