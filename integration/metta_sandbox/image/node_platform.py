"""What a node is, as packaging sees it: the tags and markers that pip would find there."""

from __future__ import annotations

from dataclasses import dataclass

from metta_sandbox.errors import MachineError

#: The newest C library a wheel may ask for: that of Debian bookworm (PEP 600).
NEWEST_GLIBC_MINOR = 36

#: What our rollout runs on: mettagrid has wheels for these Pythons and for this C library.
ROLLOUT_PYTHONS = ("3.11", "3.12")
ROLLOUT_GLIBC = (2, 34)

#: Names that engines and kernels give to an architecture, and the one wheels use.
_ARCHITECTURES = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "aarch64": "aarch64",
    "arm64": "aarch64",
}

#: The same architectures as Debian names them.
_DEBIAN_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class NodePlatform:
    """The Python and the machine of every node.

    Args:
        architecture: ``x86_64`` or ``aarch64``.
        python: Its Python's major and minor version.

    """

    architecture: str
    python: str = "3.11"

    @classmethod
    def of_engine(cls, architecture: str, python: str = "3.11") -> NodePlatform:
        """Read an engine's own word for its architecture.

        Raises:
            MachineError: mettagrid and torch have no wheels for it.

        """
        known = _ARCHITECTURES.get(architecture)
        if known is None:
            raise MachineError(
                f"The Docker engine runs on {architecture}; nodes need x86_64 or aarch64",
                "point DOCKER_HOST at an engine on such a machine",
            )
        return cls(known, python)

    @property
    def debian_architecture(self) -> str:
        """What Debian calls the architecture."""
        return _DEBIAN_ARCHITECTURES[self.architecture]

    def pip_options(self) -> list[str]:
        """Return the options that make pip choose wheels for this platform, newest tags first."""
        minors = range(NEWEST_GLIBC_MINOR, 4, -1)
        tags = [f"manylinux_2_{minor}_{self.architecture}" for minor in minors]
        tags += [f"manylinux{old}_{self.architecture}" for old in ("2014", "2010", "1")]
        tags += [f"linux_{self.architecture}", "any"]
        options = ["--only-binary=:all:", "--python-version", self.python, "--implementation", "cp"]
        for abi in (f"cp{self.python.replace('.', '')}", "abi3", "none"):
            options += ["--abi", abi]
        for tag in tags:
            options += ["--platform", tag]
        return options

    def markers(self) -> dict[str, str]:
        """Return the environment for PEP 508 markers, as it is on a node."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.architecture,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }
