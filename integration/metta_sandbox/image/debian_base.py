"""A base image from the distribution's own packages, for where no registry answers."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from python_on_whales import DockerClient

from metta_sandbox.errors import MachineError
from metta_sandbox.image.host_cache import cache_folder
from metta_sandbox.interrupt import uninterrupted

#: The repository of the images made here.
REPOSITORY = "metta-sandbox-base"

#: Debian's release with Python 3.11 and a C library new enough for mettagrid's wheels.
SUITE = "bookworm"

#: ``python-is-python3`` gives the name ``python``, which the official images have too.
PACKAGES = ("ca-certificates", "netbase", "python-is-python3", "python3", "python3-venv", "tzdata")

#: What cluster images have besides, and the programs of it.
CLUSTER_PACKAGES = ("curl", "git", "iputils-ping", "openssh-client", "procps", "rsync")
#: Stands for sudo where nobody can become root: packages can't be installed, all else is tried.
_SUDO = """\
#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
case "$1" in
  apt|apt-get|dpkg|snap|systemctl|service|mount|modprobe|sysctl)
    echo "sudo: nobody is root on a node of the sandbox, so $1 is not run; put it into an image" >&2
    exit 1 ;;
esac
exec "$@"
"""

#: A file's capability, which nodes may not have, keeps it from being run at all; a copy has none.
_PING = 'cp "$1"/usr/bin/ping "$1"/usr/bin/plain && mv "$1"/usr/bin/plain "$1"/usr/bin/ping'
_PLACE = '"$1"/usr/local/bin/sudo'
_CLUSTER_HOOKS = (
    f"printf %s {shlex.quote(_SUDO)} > {_PLACE} && chmod 755 {_PLACE}",
    _PING,
)

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_MIRROR = "http://deb.debian.org/debian"
_TARGETS = "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)"

#: Unpacking and configuring some 100 packages takes 20 to 40 s; a slow mirror is given its time.
_LIMIT_SECONDS = 1800
_CLEANING_SECONDS = 60


@dataclass(frozen=True)
class DebianBase:
    """A base image made of Debian packages, as a value.

    Args:
        architecture: Debian's name for it, ``amd64`` or ``arm64``.
        suite: The release.
        packages: What it holds beyond the essential ones.
        cluster: Whether it has what cluster images have, too.

    """

    architecture: str
    suite: str = SUITE
    packages: tuple[str, ...] = PACKAGES
    cluster: bool = False

    @property
    def tag(self) -> str:
        """Name the image after what it is made of."""
        more = [*CLUSTER_PACKAGES, *_CLUSTER_HOOKS] if self.cluster else []
        parts = json.dumps([self.architecture, self.suite, sorted(self.packages), *more])
        return f"{REPOSITORY}:{self.suite}-{hashlib.sha256(parts.encode()).hexdigest()[:12]}"

    def command(self, target: Path, sources: list[str], apt_options: list[str]) -> list[str]:
        """Return the mmdebstrap call that writes the root file system to ``target``.

        Args:
            target: A ``.tar`` file.
            sources: Lines of a ``sources.list``, or mirrors.
            apt_options: Options for apt, such as a proxy; they do not stay in the image.

        """
        command = ["mmdebstrap", "--variant=minbase", f"--architectures={self.architecture}"]
        more = CLUSTER_PACKAGES if self.cluster else ()
        command += [f"--include={','.join((*self.packages, *more))}"]
        if self.cluster:
            command += [f"--customize-hook={hook}" for hook in _CLUSTER_HOOKS]
        # Manuals and translations are a good part of it, and nobody reads them in a node.
        for folder in ("doc", "info", "locale", "man"):
            command += [f"--dpkgopt=path-exclude=/usr/share/{folder}/*"]
        command += ["--dpkgopt=path-include=/usr/share/doc/*/copyright"]
        command += [f"--aptopt={option}" for option in apt_options]
        # A proxy's address may hold a password, and is the host's business.
        command += ['--customize-hook=rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap']
        return [*command, self.suite, str(target), *sources]


def parse_sources(targets: str, suite: str, keyring: Path | None) -> list[str]:
    """Pick a release's mirrors out of what ``apt-get indextargets`` says of this host.

    Returns:
        Lines for a ``sources.list``: the release itself, its updates and its security fixes;
        nothing if the host has no mirror of that release.

    """
    wanted = {suite, f"{suite}-updates", f"{suite}-security"}
    signed = f" [signed-by={keyring}]" if keyring else ""
    found: dict[str, None] = {}
    for target in targets.splitlines():
        uri, release, component = target.split("\t")
        if release in wanted and component == "main":
            found[f"deb{signed} {uri} {release} {component}"] = None
    complete = any(line.endswith(f" {suite} main") for line in found)
    return list(found) if complete else []


def make_base(docker: DockerClient, base: DebianBase) -> str:
    """Make the image from packages and return its tag.

    Raises:
        MachineError: mmdebstrap or Debian's keys are missing here, or it failed.

    """
    if shutil.which("mmdebstrap") is None:
        raise MachineError(
            "No registry answers, and mmdebstrap, which makes a base image without one, is missing",
            "sudo apt-get install -y mmdebstrap debian-archive-keyring (Debian, Ubuntu); elsewhere "
            "load an image: docker load < python-3.11-slim-bookworm.tar",
        )
    keyring = _KEYRING if _KEYRING.is_file() else None
    sources = parse_sources(
        _output("apt-get", "indextargets", "--format", _TARGETS), SUITE, keyring
    )
    if not sources and keyring is None:
        raise MachineError(
            f"This is not Debian {base.suite}, and its keys are missing: {_KEYRING}",
            "sudo apt-get install -y debian-archive-keyring",
        )
    with tempfile.TemporaryDirectory(prefix="base-", dir=cache_folder()) as scratch:
        target = Path(scratch) / "root.tar"
        command = base.command(target, sources or [_MIRROR], _host_apt_options())
        status, said = _run_to_its_end(command)
        if status != 0:
            raise _failed(said)
        docker.image.import_(target, base.tag, changes=['CMD ["python3"]'])
    return base.tag


def _run_to_its_end(command: list[str]) -> tuple[int, str]:
    """Run a command that cleans up after itself when it is ended; return status and messages."""
    process: subprocess.Popen[str] | None = None
    try:
        # Ctrl-C waits until it is known which process there is to end.
        with uninterrupted():
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
        _, said = process.communicate(timeout=_LIMIT_SECONDS)
    except BaseException as error:
        # It has mounts to undo. Killing it, as subprocess.run would, leaves them behind, and
        # Popen by itself waits a quarter of a second only after Ctrl-C.
        if process is not None:
            process.terminate()
            process.communicate(timeout=_CLEANING_SECONDS)
        if isinstance(error, subprocess.TimeoutExpired):
            raise MachineError(f"mmdebstrap took over {_LIMIT_SECONDS} s") from error
        raise
    return process.returncode, said


def _failed(output: str) -> MachineError:
    lines = "\n".join(f"  {line}" for line in output.splitlines()[-12:])
    hint = "see that `sudo apt-get update` works here"
    if "chroot mode" in output or "unshare" in output or "subuid" in output:
        hint = (
            "without root it needs user namespaces: sudo apt-get install -y uidmap, and "
            "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER"
        )
    return MachineError(f"mmdebstrap could not make a base image:\n{lines}", hint)


def _host_apt_options() -> list[str]:
    """Return how this host's apt reaches its mirrors: proxies, certificates, time-outs."""
    dump = _output("apt-config", "dump", "Acquire::http", "Acquire::https")
    return [line.rstrip(";") for line in dump.splitlines() if '""' not in line]


def _output(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
