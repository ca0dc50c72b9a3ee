"""What nodes ask their package index for: answered, noted, and told where it can't be had."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metta_sandbox.errors import SandboxError
from metta_sandbox.image.package_source import Fetched, PackageSource
from metta_sandbox.node.agent.events import PackageAsked
from metta_sandbox.report.results import CheckResult
from metta_sandbox.services.packages import answers
from metta_sandbox.services.packages.answers import METADATA, Answer, package_name
from metta_sandbox.timeline.recording import Event
from metta_sandbox.verdict import Verdict
from metta_sandbox.words import many

#: The artifact that tells what was asked for.
FILE_NAME = "packages.json"
#: Packages that one scenario may ask for: names carry what a node knows to whoever runs an index.
_MOST = 2_000
_AT_ONCE = 8
#: Packages that the report names.
_SHOWN = 5


@dataclass
class _Package:
    lacks: str = ""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)


class PackageDesk:
    """Answers the package index of a stack, each question in a thread.

    Args:
        source: What has packages.
        folder: Where the index finds answers.
        tell: Gets a line for whoever watches.
        gpu: Whether CUDA builds are wanted.
        allowed: The only packages that may be had, by normalised name; None for any.

    """

    def __init__(
        self,
        source: PackageSource,
        folder: Path,
        tell: Callable[[str], None],
        *,
        gpu: bool = False,
        allowed: frozenset[str] | None = None,
    ) -> None:
        self._source = source
        self._folder = folder
        self._tell = tell
        self._gpu = gpu
        self._allowed = allowed
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="packages")
        self._lock = threading.Lock()
        self._packages: dict[str, _Package] = {}

    def attend(self) -> None:
        """Answer from now on."""
        answers.attend(self._folder)

    def take(self, event: Event) -> None:
        """Take in an event; if it is a ``package.asked``, that is answered a little later."""
        if event.name != PackageAsked.name:
            return
        question, name, file = event.get("question"), event.get("package"), event.get("file")
        with suppress(RuntimeError):  # it is closed
            self._pool.submit(self._answer, question, name, file)

    def close(self, artifacts: Path) -> None:
        """Answer no more, and leave what was asked for in a folder of artifacts."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        answers.leave(self._folder)
        with self._lock:
            told = [
                {
                    "package": name,
                    **({"lacks": one.lacks} if one.lacks else {}),
                    "files": [{"file": file, **facts} for file, facts in one.files.items()],
                }
                for name, one in self._packages.items()
            ]
        if told:
            (artifacts / FILE_NAME).write_text(json.dumps(told, indent=1) + "\n")

    def result(self) -> CheckResult | None:
        """Say what could not be had, as what is worth a look; None if nothing was asked for."""
        with self._lock:
            asked = dict(self._packages)
        if not asked:
            return None
        lacking = [f"{name}: {one.lacks}" for name, one in asked.items() if one.lacks]
        files = sum(len(one.files) for one in asked.values())
        few = [*lacking[:_SHOWN], *(["…"] if len(lacking) > _SHOWN else [])]
        return CheckResult(
            name="packages",
            verdict=Verdict.PASSED,
            expected="what nodes ask their package index for is noted; it decides nothing",
            seen=f"{many(len(asked), 'package')} asked for, {many(files, 'file')} given",
            where=(FILE_NAME,),
            warning=f"packages that could not be had: {'; '.join(few)}" if few else "",
        )

    def _answer(self, question: str, name: str, file: str | None) -> None:
        try:
            answer = self._found(package_name(name), file)
        except (SandboxError, ValueError) as error:
            answer = Answer(lacks=str(error))
        except OSError as error:
            answer = Answer(lacks=f"{error.strerror} (on the host)")
        with suppress(OSError, ValueError):  # the stack is gone, or that is no question
            answers.write_answer(self._folder, question, answer)

    def _found(self, name: str, file: str | None) -> Answer:
        package = self._note(name)
        try:
            self._require_reviewed(name)
            if file is None:
                return Answer(listed=self._source.listed(name, gpu=self._gpu))
            fetched = self._source.fetch(name, file, gpu=self._gpu)
        except SandboxError as error:
            self._lack(package, name, str(error))
            raise
        if not file.endswith(METADATA):
            with self._lock:
                package.files[file] = {"sha256": fetched.sha256, "bytes": fetched.size}
        return Answer(place=self._place(fetched))

    def _require_reviewed(self, name: str) -> None:
        """Refuse what nobody has reviewed; no index is to hear of its name either."""
        if self._allowed is not None and name not in self._allowed:
            raise SandboxError("--untrusted: it is not among workload.requirements")

    def _note(self, name: str) -> _Package:
        with self._lock:
            if name not in self._packages and len(self._packages) >= _MOST:
                raise SandboxError(f"more than {_MOST} packages were asked for")
            return self._packages.setdefault(name, _Package())

    def _lack(self, package: _Package, name: str, reason: str) -> None:
        with self._lock:
            known, package.lacks = package.lacks, reason
        if not known:
            self._tell(f"package {name} can't be had: {reason}")

    def _place(self, fetched: Fetched) -> str:
        """Put a file where the index finds it."""
        place = Path(answers.FILES) / f"{fetched.sha256[:16]}-{fetched.path.name}"
        target = self._folder / place
        if not target.exists():
            part = target.with_name(f".{target.name}.{threading.get_ident()}")
            try:
                os.link(fetched.path, part)
            except OSError:
                shutil.copyfile(fetched.path, part)
            part.replace(target)
        return str(place)
