"""The wheelhouse: every package of a node, fetched by the user's own pip, kept for later builds.

Inside a build there is often no way out: company proxies sign TLS with a certificate that only
the host trusts. pip on the host knows its indexes, mirrors and certificates, so it does the
fetching, for the node's Python and platform whatever the host's.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from packaging.utils import canonicalize_name

from metta_sandbox.errors import MachineError
from metta_sandbox.image.host_cache import cache_folder, locked
from metta_sandbox.image.node_platform import NodePlatform
from metta_sandbox.image.older import find_older
from metta_sandbox.image.pip_client import (
    PipDownload,
    PipResult,
    build_pure_wheel,
    find_pip,
    run_pip,
)
from metta_sandbox.image.pip_sources import own_constraints, requirements_in, sources
from metta_sandbox.image.present import PresentPackage, is_stub, pins, write_stubs
from metta_sandbox.image.wheel_metadata import (
    Wheel,
    WheelClosure,
    applicable,
    closure,
    own_requirements,
    read_wheel,
)
from metta_sandbox.progress import Progress
from metta_sandbox.words import many

#: Where PyTorch publishes its CPU builds.
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"

#: Changes when the layout of a wheelhouse does, so that none of an older make is taken.
_FORMAT = 1

#: More rounds than any real set of packages needs; beyond it, something answers in circles.
_ROUNDS = 20

#: A download of ten megabytes or more, as pip announces it.
_LARGE = re.compile(r"\s*Downloading \S+ \((?:\d{2,}(?:\.\d+)? MB|\S+ GB)\)")

#: What pip says when requirements exclude each other.
_CONFLICT = re.compile(r"ResolutionImpossible|conflicting dependencies")
#: And which of them are constraints.
_CONSTRAINED = re.compile(r"The user requested \(constraint\) ([A-Za-z0-9._-]+?)==")

#: What mends it. To build one runs its author's code, so that is nobody's but the user's to do.
_BRING = (
    "building one runs its code, which is left to you: pip wheel --no-deps -w FOLDER '{0}', and "
    "then PIP_FIND_LINKS=FOLDER; or ask for a version that has one"
)


class RequirementError(MachineError):
    """A package can't be had for the nodes; ``requirement`` says which."""

    def __init__(self, message: str, hint: str, requirement: str) -> None:
        super().__init__(message, hint)
        self.requirement = requirement


class ConflictError(MachineError):
    """Requirements exclude each other; ``kept`` names what constraints have a part in it."""

    def __init__(self, message: str, hint: str, kept: frozenset[str]) -> None:
        super().__init__(message, hint)
        self.kept = kept


@dataclass(frozen=True)
class WheelSpec:
    """What a wheelhouse is for.

    Args:
        platform: The nodes' Python and architecture.
        requirements: What nodes need, as PEP 508 requirements without markers.
        constraints: The text of a constraints file.
        gpu: Whether CUDA builds are wanted (``+hardware=gpu``).
        torch_cpu_index: Where CPU builds of torch are looked for if pip comes up with CUDA.
        present: What there is already where the wheels go, and is left out of them.

    """

    platform: NodePlatform
    requirements: tuple[str, ...]
    constraints: str = ""
    gpu: bool = False
    torch_cpu_index: str = TORCH_CPU_INDEX
    present: tuple[PresentPackage, ...] = ()

    @classmethod
    def for_nodes(
        cls,
        platform: NodePlatform,
        constraints: Path,
        *,
        further: tuple[str, ...] = (),
        gpu: bool = False,
    ) -> WheelSpec:
        """Ask for what this package needs on a node, and what a workload needs further."""
        requirements = tuple(sorted({*own_requirements(platform), *further}))
        lines = constraints.read_text().splitlines() if constraints.is_file() else []
        # pip would read the markers as those of the Python that it runs under itself.
        told = applicable((line for line in lines if line[:1] not in ("", "#")), platform)
        return cls(platform, requirements, "".join(f"{line}\n" for line in told), gpu)

    @property
    def key(self) -> str:
        """Name the contents: equal for equal requirements on equal nodes."""
        parts = {
            "format": _FORMAT,
            "platform": asdict(self.platform),
            "requirements": sorted(self.requirements),
            "constraints": self.constraints,
            "gpu": self.gpu,
        }
        if self.present:
            parts["present"] = sorted([one.name, one.version] for one in self.present)
            # Ours are constrained; what is the user's comes from wherever the user's pip says.
            parts["sources"] = sources()
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Wheelhouse:
    """A folder of wheels with ``requirements.txt``, which pins all of them.

    Args:
        path: The folder.
        key: Names its contents.
        seconds: What ``ensure`` took.
        made: Whether it had to be made.

    """

    path: Path
    key: str
    seconds: float
    made: bool


def ensure(spec: WheelSpec, progress: Progress, cache: Path | None = None) -> Wheelhouse:
    """Return the wheelhouse for ``spec``, fetching it unless it is there.

    Raises:
        MachineError: pip found only CUDA builds of torch, or failed, or is missing.

    """
    started = time.perf_counter()
    cache = cache_folder("wheelhouse") if cache is None else cache
    path = cache / spec.key
    made = False
    if not path.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / f"{spec.key}.lock", progress, "packages: another run is fetching them"):
            # Whoever held the lock before may have made it.
            if not path.is_dir():
                _make(spec, path, progress)
                made = True
    return Wheelhouse(path, spec.key, time.perf_counter() - started, made)


def _make(spec: WheelSpec, path: Path, progress: Progress) -> None:
    progress(
        f"packages: fetching {many(len(spec.requirements), 'requirement')}, with all dependencies"
    )
    with tempfile.TemporaryDirectory(prefix=f"{spec.key}-", dir=path.parent) as scratch:
        wheels = _fetch_closure(spec, Path(scratch), progress)
        wheels = [(source, wheel) for source, wheel in wheels if not is_stub(wheel.file)]
        finished = Path(scratch) / "finished"
        finished.mkdir()
        for source, wheel in wheels:
            source.rename(finished / wheel.file)
        pins = [f"{wheel.name}=={wheel.version}\n" for _, wheel in wheels]
        (finished / "requirements.txt").write_text("".join(pins))
        finished.rename(path)
    progress(f"packages: {len(wheels)} wheels in {path}")


def _fetch_closure(spec: WheelSpec, scratch: Path, progress: Progress) -> list[tuple[Path, Wheel]]:
    """Download what is needed, keeping what is present as far as that can be."""
    constraints, present = scratch / "constraints.txt", scratch / "present"
    present.mkdir()
    write_stubs(spec.present, present, spec.platform)
    kept = spec.present
    while True:
        constraints.write_text(spec.constraints + pins(kept, spec.requirements))
        try:
            folder = Path(tempfile.mkdtemp(dir=scratch))
            return _fetch_rounds(spec, folder, (constraints, present), progress)
        except ConflictError as error:
            left = tuple(one for one in kept if one.name not in error.kept)
            if left == kept:
                raise
            names = ", ".join(sorted(one.name for one in {*kept} - {*left}))
            progress(f"packages: other versions than the nodes' are needed: {names}")
            kept = left


def _fetch_rounds(
    spec: WheelSpec, scratch: Path, given: tuple[Path, Path], progress: Progress
) -> list[tuple[Path, Wheel]]:
    """Download in rounds until nothing is missing on a node."""
    constraints, present = given
    pip = find_pip()
    built = scratch / "built"
    built.mkdir()
    previous: tuple[Path, ...] = ()
    asked = spec.requirements
    extra_index: str | None = None
    built_here: set[str] = set()
    for number in range(_ROUNDS):
        folder = scratch / f"round-{number}"
        folder.mkdir()
        links = (built, present, *previous)
        download = PipDownload(asked, constraints, folder, spec.platform, links, extra_index)
        result = run_pip(
            [*pip, *download.arguments()], _telling(progress), refuse_cuda=not spec.gpu
        )
        if result.cuda:
            if extra_index is not None:
                raise _only_cuda(result.cuda)
            extra_index = spec.torch_cpu_index
            progress(f"packages: pip found {result.cuda}, which is CUDA; trying {extra_index}")
        elif (requirement := result.without_wheel()) and spec.present:
            raise _no_wheel(requirement, spec, result)
        elif requirement and requirement not in built_here:
            built_here.add(requirement)
            _build(pip, requirement, constraints, built, progress)
        elif result.status != 0:
            raise _pip_failed(result)
        else:
            files = {wheel.name: (path, wheel) for path, wheel in _read(folder)}
            found = closure(
                asked, {name: wheel for name, (_, wheel) in files.items()}, spec.platform
            )
            if not found.missing:
                if spec.present:
                    _refuse_older(spec, found, pip, download)
                return [files[wheel.name] for wheel in found.wheels]
            asked = tuple(sorted({*asked, *found.missing}))
            previous = (folder,)
    raise MachineError(f"pip found no complete set of packages in {_ROUNDS} rounds: {asked}")


def _refuse_older(
    spec: WheelSpec, found: WheelClosure, pip: list[str], download: PipDownload
) -> None:
    """Refuse what pip would have taken newer, had it been let run strangers' code."""
    given = requirements_in([*download.requirements, *spec.constraints.splitlines()])
    came = [wheel for wheel in found.wheels if not is_stub(wheel.file)]

    def attempt(further: str, alone: bool) -> PipResult:
        with tempfile.TemporaryDirectory(dir=download.destination.parent) as folder:
            trial = replace(download, destination=Path(folder))
            if alone:
                trial = replace(trial, requirements=("--no-deps", further), constraints=None)
            else:
                trial = replace(trial, requirements=(*download.requirements, further))
            return run_pip([*pip, *trial.arguments()], _nothing, refuse_cuda=False)

    older = find_older(came, [*given, *own_constraints()], pip, spec.platform, attempt)
    if older:
        wanted = f"{older.name}=={older.newer}"
        why = "has" if older.lacking == wanted else f"needs {older.lacking}, which has"
        raise RequirementError(
            f"pip would choose {wanted}, which {why} no wheel for the nodes; with wheels alone "
            f"there is {older.name} {older.version}, which nobody asked for",
            _BRING.format(older.lacking),
            older.name,
        )


def _nothing(_line: str) -> None:
    """Take no notice of what pip says."""


def _no_wheel(requirement: str, spec: WheelSpec, result: PipResult) -> RequirementError:
    lines = "\n".join(f"  {line}" for line in result.tail[-8:])
    return RequirementError(
        f"There is no wheel of {requirement} for the nodes' Python and platform, "
        f"{spec.platform.python} on {spec.platform.architecture}:\n{lines}",
        _BRING.format(requirement),
        requirement,
    )


def _read(folder: Path) -> list[tuple[Path, Wheel]]:
    return [(path, read_wheel(path)) for path in sorted(folder.glob("*.whl"))]


def _build(
    pip: list[str], requirement: str, constraints: Path, folder: Path, progress: Progress
) -> None:
    """Build a wheel of a package that has none; only a pure one can be built for another Python."""
    progress(f"packages: no wheel of {requirement} for the nodes, building one here")
    before = set(folder.iterdir())
    command = [*pip, *build_pure_wheel(requirement, constraints, folder)]
    result = run_pip(command, _telling(progress), refuse_cuda=False)
    new = set(folder.iterdir()) - before
    if result.status == 0 and new and all(path.name.endswith("-none-any.whl") for path in new):
        return
    lines = "\n".join(f"  {line}" for line in result.tail[-8:])
    raise RequirementError(
        f"There is no wheel of {requirement} for the nodes' Python and platform, "
        f"and a portable one can't be built here:\n{lines}",
        "put a wheel of it into a folder of yours: pip config set global.find-links FOLDER",
        requirement,
    )


def _only_cuda(found: str) -> MachineError:
    return MachineError(
        f"pip finds only CUDA builds ({found}), gigabytes that nodes without a GPU have no use "
        "for, and PyTorch's CPU index did not answer or has nothing that fits",
        f"point pip at CPU wheels: PIP_EXTRA_INDEX_URL={TORCH_CPU_INDEX} (or `pip config set "
        f"global.extra-index-url {TORCH_CPU_INDEX}`); for CUDA, add +hardware=gpu",
    )


def _pip_failed(result: PipResult) -> MachineError:
    lines = "\n".join(f"  {line}" for line in result.tail[-15:])
    message = f"pip could not fetch the nodes' packages (status {result.status}):\n{lines}"
    hint = (
        "see that `pip download` works here: `pip config list` shows its indexes and certificates"
    )
    if any(_CONFLICT.search(line) for line in result.tail):
        matches = (_CONSTRAINED.search(line) for line in result.tail)
        kept = frozenset(canonicalize_name(match[1]) for match in matches if match)
        return ConflictError(message, hint, kept)
    return MachineError(message, hint)


def _telling(progress: Progress) -> Progress:
    """Pass on what pip says of downloads that take a while."""

    def tell(line: str) -> None:
        if _LARGE.match(line):
            progress(f"packages: {line.strip()}")

    return tell
