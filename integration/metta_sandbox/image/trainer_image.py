"""The node image with a trainer's own packages over it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from python_on_whales import DockerClient

from metta_sandbox.image import overlay
from metta_sandbox.image.host_cache import cache_folder, locked
from metta_sandbox.image.image_context import KIND_LABEL, TRAINER_REPOSITORY, UID_LABEL, link_all
from metta_sandbox.image.node_image import find_image, run_build
from metta_sandbox.image.wheelhouse import Wheelhouse
from metta_sandbox.progress import Progress
from metta_sandbox.resources import compose_folder


def ensure_trainer_image(
    docker: DockerClient, node: str, house: Wheelhouse, uid: int, progress: Progress
) -> str:
    """Return the tag of the node image with a wheelhouse's packages, building what is not there.

    Args:
        docker: The engine.
        node: The node image's tag, which tells its content.
        house: The packages.
        uid: Whose image it is.
        progress: Gets a line for each step.

    Raises:
        StackError: The build failed; its last lines are in the message.

    """
    dockerfile = (compose_folder() / "trainer.Dockerfile").read_text()
    script = Path(overlay.__file__).read_text()
    parts = json.dumps([node, house.key, dockerfile, script])
    tag = f"{TRAINER_REPOSITORY}:{hashlib.sha256(parts.encode()).hexdigest()[:12]}"
    (cache_folder("images") / tag.rpartition(":")[2]).touch()
    if find_image(docker, tag) is not None:
        return tag
    cache = cache_folder()
    with locked(cache / "trainer.lock", progress, "image: another run is building one"):
        if find_image(docker, tag) is None:
            progress(f"image: building {tag} with the trainer's packages")
            folder = cache / "trainer"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            (folder / "Dockerfile").write_text(dockerfile)
            (folder / "overlay.py").write_text(script)
            link_all(house.path, folder / "wheelhouse")
            build = {
                "context": ".",
                "network": "none",
                "args": {"NODE_IMAGE": node},
                "labels": {KIND_LABEL: "image", UID_LABEL: str(uid)},
            }
            file = folder / "compose.yaml"
            file.write_text(json.dumps({"services": {"node": {"image": tag, "build": build}}}))
            run_build(docker, file, tag, progress)
    return tag
