"""What a run leaves for people and CI systems besides ``results.json``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from metta_sandbox.limits import Allowance, LimitError
from metta_sandbox.report import junit, page, summary
from metta_sandbox.report.console import Reporter
from metta_sandbox.report.results import RunResult, write_text
from metta_sandbox.report.workflow_commands import annotate

#: Seconds that all reports get together, and from Ctrl-C on.
_PATIENCE = 600.0
_HURRIED = 10.0


def publish(
    run: RunResult, folder: Path, shown: Path, environ: Mapping[str, str], reporter: Reporter
) -> None:
    """Write ``report.html``, ``junit.xml`` and ``summary.md``; tell GitHub, where it is listening.

    What can't be written is told, and keeps nothing else from being written.

    Args:
        run: What the run came to.
        folder: ``artifacts/<run>/``.
        shown: The same, as people see it.
        environ: The environment of this process.
        reporter: Gets what went wrong, and annotations.

    """
    allowance = Allowance(_PATIENCE, _HURRIED)
    for name, step in _steps(run, folder, shown, environ, reporter):
        try:
            allowance.spend(step)
        except LimitError as error:
            reporter.warn(f"{name} was {error}")
        except Exception as error:  # noqa: BLE001 - a broken report must not hide the run
            reporter.warn(f"{name} could not be written: {type(error).__name__}: {error}")


def _steps(
    run: RunResult, folder: Path, shown: Path, environ: Mapping[str, str], reporter: Reporter
) -> Iterator[tuple[str, Callable[[], object]]]:
    told = partial(summary.render, run, shown)
    yield junit.FILE_NAME, lambda: (folder / junit.FILE_NAME).write_bytes(junit.render(run))
    yield summary.FILE_NAME, lambda: write_text(folder / summary.FILE_NAME, told())
    if job := environ.get("GITHUB_STEP_SUMMARY"):
        yield "the job's summary", lambda: _append(Path(job), told())
    if environ.get("GITHUB_ACTIONS") == "true":
        workspace = Path(environ.get("GITHUB_WORKSPACE") or Path.cwd())
        yield "annotations", lambda: list(map(reporter.raw, annotate(run, workspace)))
    # Last: it reads the most.
    yield page.FILE_NAME, lambda: write_text(folder / page.FILE_NAME, page.render(run, folder))


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
