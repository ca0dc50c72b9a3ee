from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from metta_sandbox.image.node_platform import NodePlatform
from metta_sandbox.image.wheelhouse import WheelSpec, ensure

SPEC = WheelSpec(NodePlatform("x86_64"), ("a", "b"), "a==1\n")


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, platform=NodePlatform("aarch64")),
        replace(SPEC, platform=NodePlatform("x86_64", "3.12")),
        replace(SPEC, requirements=("a",)),
        replace(SPEC, constraints="a==2\n"),
        replace(SPEC, gpu=True),
    ],
)
def test_whatever_changes_the_packages_changes_the_key(other: WheelSpec) -> None:
    assert other.key != SPEC.key


def test_neither_order_nor_index_changes_the_key() -> None:
    assert replace(SPEC, requirements=("b", "a")).key == SPEC.key
    assert replace(SPEC, torch_cpu_index="https://elsewhere").key == SPEC.key


def test_a_workloads_requirements_come_on_top(tmp_path: Path) -> None:
    plain = WheelSpec.for_nodes(NodePlatform("x86_64"), tmp_path / "none.txt")
    more = WheelSpec.for_nodes(
        NodePlatform("x86_64"), tmp_path / "none.txt", further=("einops>=0.7",)
    )
    assert set(more.requirements) - set(plain.requirements) == {"einops>=0.7"}
    assert plain.constraints == ""


def test_pins_are_those_for_the_nodes_python_whatever_runs_here(tmp_path: Path) -> None:
    pins = tmp_path / "constraints.txt"
    pins.write_text(
        "# Said twice.\n\na==1; python_version < '3.12'\na==2; python_version >= '3.12'\nb==3\n"
    )
    for python, told in (("3.11", "a==1\nb==3\n"), ("3.12", "a==2\nb==3\n")):
        platform = NodePlatform("x86_64", python)
        assert WheelSpec.for_nodes(platform, pins).constraints == told


def test_what_is_there_is_taken_without_asking_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    (tmp_path / SPEC.key).mkdir()
    said: list[str] = []
    house = ensure(SPEC, said.append, tmp_path)
    assert (house.path, house.made, said) == (tmp_path / SPEC.key, False, [])
