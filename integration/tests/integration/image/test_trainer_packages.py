"""A trainer's packages with a real pip: only what nodes lack, and each fault at its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.image.node_platform import NodePlatform
from metta_sandbox.image.present import PresentPackage, in_wheelhouse
from metta_sandbox.image.requirements import RequiredPackage
from metta_sandbox.image.trainer_packages import fetch

MakeWheel = Callable[..., Path]

NODE = NodePlatform("x86_64")
HERE = Path("scenario.yaml")


@pytest.fixture
def present(tmp_path: Path, make_wheel: MakeWheel) -> tuple[PresentPackage, ...]:
    """What nodes have: torch, which no index here has, and numpy and what needs it."""
    folder = tmp_path / "nodes"
    make_wheel(folder, "torch", "2.13.0+cpu")
    make_wheel(folder, "numpy", "2.3")
    make_wheel(folder, "scikit-learn", "1.9", "numpy>=2")
    return in_wheelhouse(folder)


def names(house: Path) -> list[str]:
    return (house / "requirements.txt").read_text().split()


def test_what_nodes_have_is_not_fetched_again(
    links: Path, present: tuple[PresentPackage, ...], tmp_path: Path, make_wheel: MakeWheel
) -> None:
    make_wheel(links, "mine", "1.0", "torch>=2", "numpy", "leaf")
    make_wheel(links, "leaf", "3.0")
    make_wheel(links, "numpy", "2.3", tag="cp311-cp311-manylinux_2_36_x86_64")
    make_wheel(links, "numpy", "2.4")
    required = (RequiredPackage("mine", HERE, 1), RequiredPackage("numpy", HERE, 2))

    house = fetch(required, present, NODE, print, cache=tmp_path / "cache")

    assert house
    assert names(house.path) == ["leaf==3.0", "mine==1.0"]
    again = fetch(required, present, NODE, print, cache=tmp_path / "cache")
    assert again
    assert not again.made
    enough = (RequiredPackage("torch", HERE, 1), RequiredPackage("scikit-learn>=1", HERE, 2))
    assert fetch(enough, present, NODE, print, cache=tmp_path / "cache") is None


@pytest.mark.parametrize("asked", ["numpy==1.26", "old"])
def test_another_version_goes_over_the_nodes(
    links: Path,
    present: tuple[PresentPackage, ...],
    tmp_path: Path,
    make_wheel: MakeWheel,
    asked: str,
) -> None:
    make_wheel(links, "numpy", "1.26")
    make_wheel(links, "old", "1.0", "numpy<2", "torch")
    # What there is no need to change stays, also when there is something newer.
    make_wheel(links, "torch", "2.14.0")

    house = fetch(
        (RequiredPackage(asked, HERE, 1),), present, NODE, print, cache=tmp_path / "cache"
    )

    assert house
    assert "numpy==1.26" in names(house.path)
    assert not any(name.startswith("torch") for name in names(house.path))


def test_requirements_that_exclude_each_other_are_told(
    links: Path, present: tuple[PresentPackage, ...], tmp_path: Path, make_wheel: MakeWheel
) -> None:
    make_wheel(links, "old", "1.0", "leaf<2")
    make_wheel(links, "new", "1.0", "leaf>=2")
    for version in ("1.0", "2.0"):
        make_wheel(links, "leaf", version)
    required = (RequiredPackage("old", HERE, 1), RequiredPackage("new", HERE, 2))
    with pytest.raises(InputError, match=r"scenario\.yaml: requirements exclude each other"):
        fetch(required, present, NODE, print, cache=tmp_path / "cache")


def test_a_requirement_that_cannot_be_found_is_told_at_its_line(
    links: Path, present: tuple[PresentPackage, ...], tmp_path: Path, make_wheel: MakeWheel
) -> None:
    make_wheel(links, "mine", "1.0", "leaf")
    file = tmp_path / "r.txt"
    required = (RequiredPackage("numpy", file, 1), RequiredPackage("gone==3", HERE, 4, 19))
    with pytest.raises(InputError) as caught:
        fetch(required, present, NODE, print, cache=tmp_path / "cache")
    assert str(caught.value).startswith("scenario.yaml:4:19: gone==3: There is no wheel of gone")
    assert "No matching distribution found for gone" in str(caught.value)
    with pytest.raises(InputError, match=r"no wheel of leaf .*\n.*needed by one of the require"):
        fetch((RequiredPackage("mine", file, 1),), present, NODE, print, cache=tmp_path / "cache")
    assert links.exists()
