"""Images that a run has looked for: in full once, and again when one is gone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from python_on_whales import DockerClient

from metta_sandbox.image import node_image
from metta_sandbox.image.node_image import Image, ImageSpec, KnownImages


def test_an_image_is_looked_for_in_full_once_and_again_when_it_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[ImageSpec] = []
    present: dict[str, str] = {}

    def ensure(spec: ImageSpec, *_: Any) -> Image:
        made.append(spec)
        image = Image(f"node:{len(made)}", f"id-{len(made)}", "base", "key", True, {"build": 9.0})
        present[image.tag] = image.id
        return image

    monkeypatch.setattr(node_image, "ensure_image", ensure)
    monkeypatch.setattr(node_image, "find_image", lambda _docker, tag: present.get(tag))
    images, docker = KnownImages(), cast(DockerClient, SimpleNamespace())
    spec, other = ImageSpec(package=Path("/p")), ImageSpec(package=Path("/p"), gpu=True)

    first = images.ensure(spec, print, docker)
    again = images.ensure(spec, print, docker)
    assert (again.tag, again.built, "build" in again.seconds) == (first.tag, False, False)
    assert images.ensure(other, print, docker).tag == "node:2"
    assert made == [spec, other]

    present.clear()
    assert images.ensure(spec, print, docker).tag == "node:3"
