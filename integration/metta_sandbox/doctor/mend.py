"""The commands that mend what is missing, for this distribution where it is known. Pure."""

from __future__ import annotations

from metta_sandbox.doctor.read_engine import EngineFailure
from metta_sandbox.doctor.read_host import Host
from metta_sandbox.image.base_image import DEFAULT_BASE_IMAGE

_ENGINE_GUIDE = "https://docs.docker.com/engine/install"
_COMPOSE_GUIDE = "https://docs.docker.com/compose/install/linux"
_COMPOSE_BINARY = (
    "mkdir -p ~/.docker/cli-plugins && curl -fSL -o ~/.docker/cli-plugins/docker-compose "
    '"https://github.com/docker/compose/releases/latest/download/docker-compose-linux-$(uname -m)" '
    "&& chmod +x ~/.docker/cli-plugins/docker-compose"
)
_INSTALL = {
    "debian": "apt-get install -y",
    "ubuntu": "apt-get install -y",
    "fedora": "dnf install -y",
    "arch": "pacman -S --noconfirm",
    "alpine": "apk add",
    "suse": "zypper install -y",
}
_ENGINE = {
    "debian": "docker.io iptables",
    "ubuntu": "docker.io",
    "fedora": "moby-engine",
    "arch": "docker",
    "alpine": "docker",
    "suse": "docker",
}
_COMPOSE = {
    "ubuntu": "docker-compose-v2",
    "fedora": "docker-compose",
    "arch": "docker-compose",
    "alpine": "docker-cli-compose",
    "suse": "docker-compose",
}
#: Kernel modules that the distribution leaves out of its kernel's own package.
_FURTHER_MODULES = {"ubuntu": "linux-modules-extra-$(uname -r)", "fedora": "kernel-modules-extra"}
_PYTHON = {"ubuntu": "python3.12 python3.12-venv", "debian": "python3.11 python3.11-venv"}
_PYTHON |= {"fedora": "python3.12", "suse": "python312"}


def as_root(host: Host, command: str) -> str:
    """Return the command as this user has to type it."""
    return command if host.root else f"sudo {command}"


def install(host: Host, packages: str) -> str:
    """Return the command that installs packages, or an empty string where none is known."""
    known = _INSTALL.get(host.family)
    return as_root(host, f"{known} {packages}") if known and packages else ""


def engine(host: Host, failure: EngineFailure) -> str:
    """Return the command that makes an engine answer."""
    if failure is EngineFailure.DENIED:
        return f"{as_root(host, f'usermod -aG docker {host.user}')}   (then log in anew)"
    if failure is EngineFailure.NO_CLIENT:
        return install(host, _ENGINE.get(host.family, "")) or _ENGINE_GUIDE
    if remote := (host.environ or {}).get("DOCKER_HOST"):
        from_elsewhere = remote.partition("://")[0]
        return f"see that DOCKER_HOST ({from_elsewhere}://…) is right, or: unset DOCKER_HOST"
    if host.family == "macos":
        return "open -a Docker"
    verb = "restart" if failure is EngineFailure.SILENT else "start"
    if host.systemd:
        return as_root(host, f"systemctl {verb} docker")
    return as_root(host, f"service docker {verb}")


def compose(host: Host) -> str:
    """Return the command that installs Compose v2 for the client."""
    if host.family == "debian":  # has none of its own up to bookworm
        return _COMPOSE_BINARY
    return install(host, _COMPOSE.get(host.family, "")) or _COMPOSE_GUIDE


def module(host: Host, *, here: bool) -> str:
    """Return the command that installs the engine's kernel's further modules."""
    packages = _FURTHER_MODULES.get(host.family, "")
    if here and packages:
        return install(host, packages)
    return "a kernel that has it; until then faults of the network can't be brought about"


def mmdebstrap(host: Host) -> str:
    """Return the command that installs what makes a base image, or loads one into the engine."""
    if host.family in ("debian", "ubuntu"):
        return install(host, "mmdebstrap debian-archive-keyring")
    return f"docker load < IMAGE.tar   (elsewhere: docker save {DEFAULT_BASE_IMAGE} > IMAGE.tar)"


def python(host: Host) -> str:
    """Return the command that installs a Python that mettagrid has wheels for."""
    return install(host, _PYTHON.get(host.family, "")) or "https://www.python.org/downloads"


def clock(host: Host, *, here: bool) -> str:
    """Return what sets the clocks right."""
    if not here:
        return "set the clock on the engine's machine (Docker Desktop: restart it)"
    return as_root(host, "timedatectl set-ntp true") if host.systemd else "set this machine's clock"
