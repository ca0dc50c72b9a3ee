"""The wheelhouse with a real pip, on indexes made of local folders."""

from __future__ import annotations

import multiprocessing
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from metta_sandbox.errors import MachineError
from metta_sandbox.image.node_platform import NodePlatform
from metta_sandbox.image.present import PresentPackage
from metta_sandbox.image.wheelhouse import RequirementError, WheelSpec, ensure

MakeWheel = Callable[..., Path]

NODE = NodePlatform("x86_64")
TAG = "cp311-cp311-manylinux_2_28_x86_64"


def simple_index(folder: Path, *wheels: Path) -> str:
    """Lay out wheels as an index (PEP 503) and return its address."""
    for wheel in wheels:
        project = folder / wheel.name.partition("-")[0]
        project.mkdir(parents=True, exist_ok=True)
        page = f'<a href="{wheel.as_uri()}">{wheel.name}</a>'
        (project / "index.html").write_text(page)
    return folder.as_uri()


def test_wheels_are_for_the_node_and_complete(
    links: Path, tmp_path: Path, make_wheel: MakeWheel
) -> None:
    make_wheel(links, "native", "1.0", "leaf>=1", tag=TAG)
    make_wheel(links, "native", "1.0", tag="cp311-cp311-macosx_11_0_arm64")
    make_wheel(links, "native", "2.0", tag="cp312-cp312-manylinux_2_28_x86_64")
    make_wheel(links, "leaf", "1.0")
    make_wheel(links, "leaf", "2.0")
    spec = WheelSpec(NODE, ("native",), "leaf<2\n")
    said: list[str] = []
    house = ensure(spec, said.append, tmp_path / "cache")
    assert house.made
    assert house.path == tmp_path / "cache" / spec.key
    assert sorted(path.name for path in house.path.glob("*.whl")) == [
        "leaf-1.0-py3-none-any.whl",
        f"native-1.0-{TAG}.whl",
    ]
    assert (house.path / "requirements.txt").read_text() == "leaf==1.0\nnative==1.0\n"
    assert not ensure(spec, said.append, tmp_path / "cache").made


@pytest.mark.parametrize("by_file", [True, False])
def test_what_the_user_has_configured_counts(
    links: Path,
    tmp_path: Path,
    make_wheel: MakeWheel,
    monkeypatch: pytest.MonkeyPatch,
    by_file: bool,
) -> None:
    """Also a constraint, which goes beside the sandbox's own."""
    for version in ("1.0", "2.0", "3.0"):
        make_wheel(links, "leaf", version)
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("leaf<2\n")
    if by_file:
        config = tmp_path / "pip.conf"
        told = f"no-index = true\nfind-links = {links}\nconstraint = {constraints}\n"
        config.write_text(f"[global]\n{told}")
        for variable in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
            monkeypatch.delenv(variable)
        monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    else:
        monkeypatch.setenv("PIP_CONSTRAINT", str(constraints))
    house = ensure(WheelSpec(NODE, ("leaf",), "leaf<3\n"), print, tmp_path / "cache")
    assert (house.path / "requirements.txt").read_text() == "leaf==1.0\n"


def test_what_this_hosts_markers_hide_is_fetched_all_the_same(
    links: Path, tmp_path: Path, make_wheel: MakeWheel
) -> None:
    """A node of 3.12 on a host of 3.11, and one of aarch64: pip's own markers are the host's."""
    make_wheel(links, "app", "1.0", "arm-only; platform_machine == 'aarch64'")
    make_wheel(links, "arm-only", "1.0", "deeper; platform_machine == 'aarch64'")
    make_wheel(links, "deeper", "1.0")
    arm = ensure(WheelSpec(NodePlatform("aarch64"), ("app",)), print, tmp_path / "cache")
    intel = ensure(WheelSpec(NODE, ("app",)), print, tmp_path / "cache")
    names = [
        sorted(path.name.partition("-")[0] for path in house.path.glob("*.whl"))
        for house in (arm, intel)
    ]
    assert names == [["app", "arm_only", "deeper"], ["app"]]


def test_cuda_is_replaced_by_the_cpu_build(
    links: Path, tmp_path: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(links, "torch", "9.9", "nvidia-cublas-cu12", tag=TAG)
    make_wheel(links, "nvidia-cublas-cu12", "1.0")
    cpu = make_wheel(tmp_path / "cpu", "torch", "9.9+cpu", tag=TAG)
    # `no-index` hides further indexes too, so this user has an index of their own.
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", own.as_uri())
    index = simple_index(tmp_path / "index", cpu)
    said: list[str] = []
    house = ensure(
        WheelSpec(NODE, ("torch",), torch_cpu_index=index), said.append, tmp_path / "cache"
    )
    assert [path.name for path in house.path.glob("*.whl")] == [f"torch-9.9+cpu-{TAG}.whl"]
    assert any("CUDA" in line and index in line for line in said)


def test_cuda_alone_is_refused_with_the_mend(
    links: Path, tmp_path: Path, make_wheel: MakeWheel
) -> None:
    make_wheel(links, "torch", "9.9", "nvidia-cublas-cu12", tag=TAG)
    make_wheel(links, "nvidia-cublas-cu12", "1.0")
    spec = WheelSpec(NODE, ("torch",), torch_cpu_index=(tmp_path / "none").as_uri())
    with pytest.raises(MachineError) as caught:
        ensure(spec, print, tmp_path / "cache")
    assert "(nvidia_cublas_cu12)" in caught.value.message
    assert "PIP_EXTRA_INDEX_URL=https://" in caught.value.hint
    assert "+hardware=gpu" in caught.value.hint
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []
    wanted = ensure(WheelSpec(NODE, ("torch",), gpu=True), print, tmp_path / "cache")
    assert len(list(wanted.path.glob("*.whl"))) == 2


def make_sdist(folder: Path, name: str, *, pure: bool) -> None:
    """Make a source distribution whose build backend is its own (PEP 517), so needs no index."""
    tag = "py3-none-any" if pure else "cp39-cp39-linux_x86_64"
    backend = (
        "import zipfile\n"
        "def build_wheel(folder, *_):\n"
        f"    stem = '{name}-1.0'\n"
        f"    wheel = stem + '-{tag}.whl'\n"
        "    with zipfile.ZipFile(folder + '/' + wheel, 'w') as archive:\n"
        "        for file, text in (\n"
        f"            ('METADATA', 'Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n'),\n"
        f"            ('WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: {tag}\\n'),\n"
        "            ('RECORD', ''),\n"
        "        ):\n"
        "            archive.writestr(stem + '.dist-info/' + file, text)\n"
        "    return wheel\n"
    )
    project = "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    with zipfile.ZipFile(folder / f"{name}-1.0.zip", "w") as archive:
        for file, text in (
            ("PKG-INFO", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"),
            ("pyproject.toml", project),
            ("backend.py", backend),
        ):
            archive.writestr(f"{name}-1.0/{file}", text)


def test_a_pure_package_without_a_wheel_is_built_here(
    links: Path, tmp_path: Path, make_wheel: MakeWheel
) -> None:
    make_wheel(links, "app", "1.0", "puresource")
    make_sdist(links, "puresource", pure=True)
    house = ensure(WheelSpec(NODE, ("app",)), print, tmp_path / "cache")
    assert "puresource==1.0" in (house.path / "requirements.txt").read_text()


def test_a_native_package_without_a_wheel_is_refused_by_name(links: Path, tmp_path: Path) -> None:
    make_sdist(links, "nativesource", pure=False)
    with pytest.raises(MachineError, match="no wheel of nativesource"):
        ensure(WheelSpec(NODE, ("nativesource",)), print, tmp_path / "cache")


#: What makes requirements a user's: something is there already.
THERE = (PresentPackage("there", "1.0", "Metadata-Version: 2.1\nName: there\nVersion: 1.0\n"),)


def asked(*requirements: str) -> WheelSpec:
    return WheelSpec(NODE, requirements, present=THERE)


def test_nothing_that_a_user_asks_for_is_built_here(
    links: Path, tmp_path: Path, make_wheel: MakeWheel
) -> None:
    make_wheel(links, "app", "1.0", "puresource")
    make_sdist(links, "puresource", pure=True)

    with pytest.raises(RequirementError, match="no wheel of puresource") as caught:
        ensure(asked("app"), print, tmp_path / "cache")
    assert "pip wheel --no-deps -w FOLDER 'puresource'" in caught.value.hint


def test_an_older_version_than_pip_would_choose_is_refused_by_name(
    links: Path, tmp_path: Path, make_wheel: MakeWheel
) -> None:
    make_wheel(links, "app", "1.0")
    make_wheel(links, "app", "2.0", "puresource==1.*")
    make_sdist(links, "puresource", pure=True)

    with pytest.raises(RequirementError) as caught:
        ensure(asked("app"), print, tmp_path / "cache")
    assert "pip would choose app==2.0, which needs puresource==1.*" in caught.value.message
    assert caught.value.requirement == "app"
    # Who asks for the older one gets it.
    assert ensure(asked("app<2"), print, tmp_path / "cache").made


def test_a_newest_version_without_a_wheel_is_refused_by_name(
    links: Path, tmp_path: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(links, "deep", "0.3")
    make_sdist(links, "deep", pure=True)

    with pytest.raises(RequirementError, match=r"choose deep==1\.0, which has no wheel"):
        ensure(asked("deep"), print, tmp_path / "cache")
    # The user's own constraint counts, and is part of the key.
    before = asked("deep").key
    constraint = tmp_path / "constraint.txt"
    constraint.write_text("deep<1\n")
    monkeypatch.setenv("PIP_CONSTRAINT", str(constraint))
    assert asked("deep").key != before
    assert ensure(asked("deep"), print, tmp_path / "cache").made


def test_an_older_version_for_a_real_conflict_is_pips_own_choice(
    links: Path, tmp_path: Path, make_wheel: MakeWheel
) -> None:
    for version, leaf in (("1.0", "leaf"), ("2.0", "leaf<2")):
        make_wheel(links, "app", version, leaf)
    for version in ("1.0", "2.0"):
        make_wheel(links, "leaf", version)

    house = ensure(asked("app", "leaf>=2"), print, tmp_path / "cache")

    assert (house.path / "requirements.txt").read_text() == "app==1.0\nleaf==2.0\n"


def test_the_key_holds_what_lies_where_pip_looks(links: Path, make_wheel: MakeWheel) -> None:
    before = asked("leaf").key
    make_wheel(links, "leaf", "1.0")
    assert asked("leaf").key != before


def test_what_does_not_exist_is_named(links: Path, tmp_path: Path) -> None:
    assert not list(links.iterdir())
    with pytest.raises(MachineError, match="nosuchpackage"):
        ensure(WheelSpec(NODE, ("nosuchpackage",)), print, tmp_path / "cache")


def _ensure(cache: Path, made: multiprocessing.Queue[bool]) -> None:
    made.put(ensure(WheelSpec(NODE, ("leaf",)), print, cache).made)


def test_two_at_once_fetch_once(links: Path, tmp_path: Path, make_wheel: MakeWheel) -> None:
    make_wheel(links, "leaf", "1.0")
    context = multiprocessing.get_context("fork")
    made: multiprocessing.Queue[bool] = context.Queue()
    workers = [context.Process(target=_ensure, args=(tmp_path / "cache", made)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert sorted(made.get(timeout=1) for _ in workers) == [False, True]
