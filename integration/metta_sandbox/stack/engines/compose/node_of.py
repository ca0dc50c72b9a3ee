"""What a stack's nodes are made of, when that is not the image that all share."""

from __future__ import annotations

from dataclasses import replace

from python_on_whales import DockerClient

from metta_sandbox.errors import InputError, MachineError
from metta_sandbox.image import wheelhouse
from metta_sandbox.image.debian_base import DebianBase, make_base
from metta_sandbox.image.node_image import (
    Image,
    ImageSpec,
    ensure_image,
    find_image,
    node_platform,
)
from metta_sandbox.image.present import in_wheelhouse
from metta_sandbox.image.trainer_image import ensure_trainer_image
from metta_sandbox.image.trainer_packages import fetch
from metta_sandbox.image.user_image import UserImage, ensure_user_image
from metta_sandbox.progress import Progress
from metta_sandbox.stack.engines.compose.request import NodeImage
from metta_sandbox.stack.provision import Provision


def node_image(
    docker: DockerClient, own: Image, spec: ImageSpec, provision: Provision, progress: Progress
) -> NodeImage | None:
    """Return what nodes are made of, or None if it is the image that all share.

    Args:
        docker: The engine.
        own: The image that all share.
        spec: What that was made from.
        provision: What nodes are to have.
        progress: Gets a line for each step.

    Raises:
        InputError: A requirement or an image can't be had, or nodes can't be made of it.
        MachineError: No registry answers, or pip finds only CUDA builds.
        StackError: A build failed.

    """
    if provision.image or provision.build:
        image = ensure_user_image(docker, provision.image, provision.build, progress)
        return _foreign(docker, image, spec, provision, progress)
    if provision.programs:
        return _with_programs(docker, spec, provision.programs, progress)
    if not provision.requirements:
        return None
    platform = node_platform(docker, spec)
    house = wheelhouse.ensure(spec.wheels(platform), progress)
    present = in_wheelhouse(house.path)
    lacking = fetch(provision.requirements, present, platform, progress, gpu=spec.gpu)
    if lacking is None:
        return None
    tag = ensure_trainer_image(docker, own.tag, lacking, spec.user.uid, progress)
    return NodeImage(tag)


def _with_programs(
    docker: DockerClient, spec: ImageSpec, programs: tuple[str, ...], progress: Progress
) -> NodeImage | None:
    """Make nodes of an image with what cluster images have, if its packages can be had."""
    base = DebianBase(node_platform(docker, spec).debian_architecture, cluster=True)
    try:
        if find_image(docker, base.tag) is None:
            progress(f"base image: making one with {', '.join(programs)}, which the task names")
            make_base(docker, base)
    except MachineError as error:
        progress(f"nodes lack {', '.join(programs)}, which the task names: {error.message}")
        return None
    return NodeImage(ensure_image(replace(spec, base_image=base.tag), progress, docker).tag)


def _foreign(
    docker: DockerClient,
    image: UserImage,
    spec: ImageSpec,
    provision: Provision,
    progress: Progress,
) -> NodeImage:
    """Make nodes of an image of the user's, with our rollout beside it if that is to run."""
    if reason := image.lacks(rollout=provision.bundled_rollout):
        hint = (
            "with workload.run, in place of our rollout, any Python from 3.9 will do"
            if provision.bundled_rollout
            else "install it in the image"
        )
        raise InputError(f"nodes can't be made of the image {image.tag}: {reason}", hint)
    if not provision.bundled_rollout:
        return NodeImage(image.tag, image.interpreter, foreign=True)
    beside = replace(spec, base_image=image.tag, python=image.python, interpreter=image.interpreter)
    return NodeImage(ensure_image(beside, progress, docker).tag, image.interpreter, foreign=True)
