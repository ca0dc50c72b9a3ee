from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from metta_sandbox.image.node_platform import NodePlatform
from metta_sandbox.image.wheel_metadata import Wheel, closure, own_requirements, read_wheel

NODE = NodePlatform("x86_64")


def wheel(name: str, *requires: str) -> Wheel:
    return Wheel(f"{name}-1-py3-none-any.whl", name, "1", requires)


def names(*wheels: Wheel) -> dict[str, Wheel]:
    return {one.name: one for one in wheels}


def test_a_wheel_is_read(tmp_path: Path) -> None:
    path = tmp_path / "My_Pkg-1.0-py3-none-any.whl"
    metadata = "Metadata-Version: 2.1\nName: My_Pkg\nVersion: 1.0\n"
    metadata += "Requires-Dist: a>=1\nRequires-Dist: b; extra == 'x'\n\nRequires-Dist: not this\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("my_pkg/vendor-1.dist-info/METADATA", "Name: vendored\nVersion: 9\n")
        archive.writestr("My_Pkg-1.0.dist-info/METADATA", metadata)
    read = read_wheel(path)
    assert (read.name, read.version) == ("my-pkg", "1.0")
    assert read.requires == ("a>=1", "b; extra == 'x'")


def test_a_file_that_is_no_wheel_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.py", "")
    with pytest.raises(ValueError, match=path.name):
        read_wheel(path)


def test_closure_follows_what_a_node_needs_and_no_more() -> None:
    wheels = names(
        wheel("app", "dep", "win; sys_platform == 'win32'", "new; python_version >= '3.12'"),
        wheel("dep", "leaf"),
        wheel("leaf"),
        wheel("unrelated"),
    )
    found = closure(["App"], wheels, NODE)
    assert [one.name for one in found.wheels] == ["app", "dep", "leaf"]
    assert found.missing == ()


def test_what_only_a_node_needs_is_missed() -> None:
    wheels = names(wheel("app", "only-linux>=2 ; platform_system == 'Linux'"))
    assert closure(["app"], wheels, NODE).missing == ("only-linux>=2",)


def test_extras_are_followed_also_when_they_are_asked_for_late() -> None:
    wheels = names(wheel("app", "web", "web[tls]"), wheel("web", "crypto[fast]<3; extra == 'tls'"))
    found = closure(["app"], wheels, NODE)
    assert found.missing == ("crypto[fast]<3",)


def test_circles_end() -> None:
    wheels = names(wheel("a", "b"), wheel("b", "a"))
    assert [one.name for one in closure(["a"], wheels, NODE).wheels] == ["a", "b"]


def test_our_own_requirements_are_those_of_nodes() -> None:
    own = own_requirements(NODE)
    packages = {requirement.partition(">")[0] for requirement in own}
    assert {"torch", "mettagrid", "numpy", "fastapi", "uvicorn", "wandb", "pydantic"} <= packages
    assert not packages & {"pytest", "ruff", "mypy", "nox"}
    assert not any(";" in requirement for requirement in own)
    assert not any("mettagrid" in r for r in own_requirements(NodePlatform("x86_64", "3.13")))
