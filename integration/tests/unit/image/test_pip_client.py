from __future__ import annotations

import sys
from pathlib import Path

import pytest

from metta_sandbox.errors import MachineError
from metta_sandbox.image.node_platform import NodePlatform
from metta_sandbox.image.pip_client import PipDownload, PipResult, cuda_in, find_pip, run_pip

CUDA_LINES = {
    "Collecting nvidia-cuda-nvrtc-cu12==12.6.77 (from torch)": "nvidia-cuda-nvrtc-cu12",
    "Collecting triton==3.4.0 (from torch)": "triton",
    "Collecting pytorch-triton==3.4.0": "pytorch-triton",
    "  Downloading nvidia_cublas_cu12-12.6.4.1-py3-none-manylinux_2_27_x86_64.whl (393.1 MB)": (
        "nvidia_cublas_cu12"
    ),
    "  Using cached https://x/torch-2.9.0%2Bcu128-cp311-cp311-linux_x86_64.whl (10 MB)": (
        "torch-2.9.0%2Bcu128"
    ),
    "Processing /wheels/torch-2.13.0+cu130-cp311-cp311-manylinux_2_28_x86_64.whl": (
        "torch-2.13.0+cu130"
    ),
    "  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (526.6 MB)": (
        "torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (526.6 MB)"
    ),
    "  Using cached torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (1.1 GB)": (
        "torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (1.1 GB)"
    ),
}


@pytest.mark.parametrize("line", CUDA_LINES)
def test_cuda_is_seen(line: str) -> None:
    assert cuda_in(line) == CUDA_LINES[line]


@pytest.mark.parametrize(
    "line",
    [
        "Processing /wheels/torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl",
        "  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_aarch64.whl (104.1 MB)",
        "  Downloading torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl (483.0 MB)",
        "  Downloading scipy-1.17.1-cp311-cp311-manylinux_2_28_x86_64.whl (435.3 MB)",
        "Collecting nvidia-ml-py (from gpustat)",
        "Collecting sympy (from triton-helpers)",
        "Collecting filelock (from torch-2.13.0+cu130)",
        "WARNING: nvidia-cublas is not wanted",
    ],
)
def test_what_is_not_cuda_passes(line: str) -> None:
    assert cuda_in(line) == ""


def download(**changes: object) -> PipDownload:
    values: dict[str, object] = {
        "requirements": ("torch>=2.6", "wandb"),
        "constraints": Path("/c/constraints.txt"),
        "destination": Path("/d"),
        "platform": NodePlatform("x86_64"),
        **changes,
    }
    return PipDownload(**values)  # type: ignore[arg-type]


def test_download_leaves_indexes_to_the_users_configuration() -> None:
    arguments = download().arguments()
    assert arguments[0] == "download"
    assert arguments[-2:] == ["torch>=2.6", "wandb"]
    assert arguments[arguments.index("--constraint") + 1] == "/c/constraints.txt"
    assert arguments[arguments.index("--dest") + 1] == "/d"
    for option in ("--index-url", "--extra-index-url", "--no-index", "--isolated", "--cert"):
        assert option not in arguments


def test_download_adds_an_index_and_does_not_wait_long_for_it() -> None:
    arguments = download(extra_index="https://cpu.example", find_links=(Path("/f"),)).arguments()
    assert arguments[arguments.index("--extra-index-url") + 1] == "https://cpu.example"
    assert arguments[arguments.index("--retries") + 1] == "1"
    assert arguments[arguments.index("--find-links") + 1] == "/f"


def test_the_requirement_without_a_wheel_is_named() -> None:
    line = "ERROR: No matching distribution found for sdist-only==1.0 (from x)"
    assert PipResult(1, ("Collecting a", line)).without_wheel() == "sdist-only==1.0"
    assert PipResult(1, ("ERROR: disk full",)).without_wheel() == ""


def test_pip_is_ended_at_the_first_sign_of_cuda(tmp_path: Path) -> None:
    late = tmp_path / "late"
    script = (
        "import pathlib, sys, time\n"
        "print('Collecting nvidia-cublas (from torch)', flush=True)\n"
        "time.sleep(60)\n"
        f"pathlib.Path({str(late)!r}).touch()\n"
    )
    result = run_pip([sys.executable, "-c", script], lambda _line: None, refuse_cuda=True)
    assert result.cuda == "nvidia-cublas"
    assert result.status != 0
    assert not late.exists()


def test_cuda_is_let_through_where_it_is_wanted() -> None:
    script = "print('Collecting nvidia-cublas'); print('done'); raise SystemExit(3)"
    seen: list[str] = []
    result = run_pip([sys.executable, "-c", script], seen.append, refuse_cuda=False)
    assert (result.status, result.cuda, result.tail[-1]) == (3, "", "done")
    assert seen == ["Collecting nvidia-cublas", "done"]


def test_the_users_quiet_setting_does_not_blind_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_QUIET", "3")
    script = "import os; print(os.environ['PIP_QUIET'])"
    result = run_pip([sys.executable, "-c", script], lambda _line: None, refuse_cuda=True)
    assert result.tail == ("0",)


def test_without_any_pip_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MachineError, match="ensurepip"):
        find_pip()
