"""What a run of the benchmark was on, and with."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.peers import ALL


def machine() -> dict[str, str]:
    """Describe this machine, as far as it tells."""
    cpuinfo, meminfo = _read("/proc/cpuinfo"), _read("/proc/meminfo")
    model = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", meminfo, re.MULTILINE)
    system = re.search(r'^PRETTY_NAME="(.*)"$', _read("/etc/os-release"), re.MULTILINE)
    return {
        "processor": model[1].strip() if model else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "unknown",
        "system": f"{system[1] if system else platform.system()}, Linux {platform.release()}"
        if platform.system() == "Linux"
        else platform.platform(),
        "load before": " ".join(f"{one:.1f}" for one in os.getloadavg()),
    }


def versions(image: str) -> dict[str, str]:
    """List the versions of what takes part.

    Args:
        image: The node image's name.

    """
    found = {
        "Docker engine": _ask("docker", "version", "--format", "{{.Server.Version}}"),
        "Docker Compose": _ask("docker", "compose", "version", "--short"),
        "Python": platform.python_version(),
        "node image": image,
        "metta-sandbox": _ask(
            "git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"
        ),
    }
    for name in ("torch", "wandb", "python-on-whales"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    peers = (requirement.partition("==") for requirements in ALL for requirement in requirements)
    return {**found, **{name: number for name, _, number in peers}}


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _ask(*command: str) -> str:
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return said.stdout.strip() or "unknown"
