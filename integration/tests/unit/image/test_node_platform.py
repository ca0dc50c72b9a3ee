from __future__ import annotations

import itertools

import pytest
from packaging.markers import Marker

from metta_sandbox.errors import MachineError
from metta_sandbox.image.node_platform import NodePlatform


@pytest.mark.parametrize(
    ("engine", "wheels", "debian"),
    [
        ("x86_64", "x86_64", "amd64"),
        ("amd64", "x86_64", "amd64"),
        ("aarch64", "aarch64", "arm64"),
        ("arm64", "aarch64", "arm64"),
    ],
)
def test_engine_architectures(engine: str, wheels: str, debian: str) -> None:
    platform = NodePlatform.of_engine(engine)
    assert platform.architecture == wheels
    assert platform.debian_architecture == debian


def test_an_architecture_without_wheels_is_named() -> None:
    with pytest.raises(MachineError, match="riscv64"):
        NodePlatform.of_engine("riscv64")


def test_pip_gets_every_tag_a_bookworm_node_takes() -> None:
    options = NodePlatform("aarch64").pip_options()
    pairs = list(itertools.pairwise(options))
    platforms = [value for name, value in pairs if name == "--platform"]
    assert platforms[0] == "manylinux_2_36_aarch64"
    assert {"manylinux2014_aarch64", "linux_aarch64", "any"} <= set(platforms)
    assert not any("x86_64" in platform for platform in platforms)
    assert [value for name, value in pairs if name == "--abi"] == ["cp311", "abi3", "none"]
    assert ("--python-version", "3.11") in pairs
    assert "--only-binary=:all:" in options


def test_markers_are_those_of_a_node_and_not_of_this_host() -> None:
    markers = NodePlatform("aarch64").markers()
    assert Marker("python_version == '3.11' and sys_platform == 'linux'").evaluate(markers)
    assert Marker("platform_machine == 'aarch64'").evaluate(markers)
    assert not Marker("sys_platform == 'darwin' or os_name == 'nt'").evaluate(markers)
