# /// script
# requires-python = ">=3.10"
# dependencies = ["nox>=2024.10.9"]
# ///
"""Sessions over the sandbox. ``nox -s sandbox`` plays the scenarios, ``nox -s tests`` tests all.

Runs by itself, too, with nothing installed first: ``python3 noxfile.py -s sandbox``,
``pipx run ./noxfile.py -s sandbox`` or ``uv run noxfile.py -s sandbox``.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from datetime import datetime, timezone
from pathlib import Path

try:
    import nox
    from nox.command import CommandFailed
except ModuleNotFoundError:
    # Plain Python: put Nox into an environment of its own, and start again in there.
    home = Path(__file__).resolve().parent / ".nox" / "nox"
    python = str(home / "bin" / "python")
    if not (home / "bin" / "nox").exists():
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "nox>=2024.10.9"], check=True)
    os.execv(python, [python, *sys.argv])  # noqa: S606

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["lint", "tests"]
nox.options.reuse_existing_virtualenvs = True
# uv does not read pip's configuration, where mirrors and certificates stand.
nox.options.default_venv_backend = "virtualenv"

ROOT = Path(__file__).resolve().parent
CONSTRAINTS = ROOT / "compose" / "constraints.txt"
#: What an install in place depends on.
INSTALLED_FROM = (CONSTRAINTS, ROOT / "pyproject.toml", ROOT / "integration" / "build_hook.py")
#: Pythons that mettagrid has wheels for.
NODE_PYTHONS = ["3.11", "3.12"]


def _install(session: nox.Session, *what: str) -> None:
    """Install something, unless the session's environment has it already from the same files."""
    words = ("--quiet", "--constraint", str(CONSTRAINTS), *what)
    environment = getattr(session.virtualenv, "location", None)
    if environment is None:
        # Of nobody's, with --no-venv: Nox refuses.
        session.install(*words)
        return
    place = (
        Path(environment) / f"installed-{hashlib.sha256(' '.join(what).encode()).hexdigest()[:16]}"
    )
    files = [str(ROOT).encode(), *(file.read_bytes() for file in INSTALLED_FROM)]
    key = hashlib.sha256(b"\0".join(files)).hexdigest()
    if place.exists() and place.read_text() == key:
        return
    # An install that breaks off has no note.
    place.unlink(missing_ok=True)
    if session.run_install("python", "-m", "pip", "install", *words):
        place.write_text(key)


def _sandbox(session: nox.Session, *words: str) -> None:
    """Run the command line; it ends by itself after Ctrl-C, once the evidence is safe."""
    _install(session, "--editable", ".")
    session.run(
        "metta-sandbox", *words, *session.posargs, interrupt_timeout=None, terminate_timeout=None
    )


def _measure(session: nox.Session, module: str, package: str) -> None:
    """Run a program beside the package; it ends by itself after Ctrl-C, too."""
    _install(session, "torch==2.13.0")
    _install(session, "--editable", package)
    command = ("python", "-m", module, *session.posargs)
    session.run(*command, interrupt_timeout=None, terminate_timeout=None)


@nox.session
def sandbox(session: nox.Session) -> None:
    """Play scenarios across real nodes (default: all of scenarios/)."""
    _sandbox(session, "run")


@nox.session
def launch(session: nox.Session) -> None:
    """Start a one-off sweep (-- sweep run=test key=value …)."""
    _sandbox(session, "launch")


@nox.session
def up(session: nox.Session) -> None:
    """Start the standing stack (-- --nodes N)."""
    _sandbox(session, "up")


@nox.session
def stop(session: nox.Session) -> None:
    """Stop and remove the standing stack."""
    _sandbox(session, "stop")


@nox.session
def status(session: nox.Session) -> None:
    """Show the standing stack."""
    _sandbox(session, "status")


@nox.session
def logs(session: nox.Session) -> None:
    """Print the standing stack's logs (-- [SERVICE] [-f])."""
    _sandbox(session, "logs")


@nox.session
def shell(session: nox.Session) -> None:
    """Open a shell on a node of the standing stack (-- [NODE])."""
    _sandbox(session, "shell")


@nox.session
def scenarios(session: nox.Session) -> None:
    """Check scenario files without starting anything."""
    _sandbox(session, "validate")


@nox.session
def doctor(session: nox.Session) -> None:
    """Say what is missing on this machine, and how to mend it."""
    _sandbox(session, "doctor")


@nox.session
def clean(session: nox.Session) -> None:
    """Remove what crashed runs left behind."""
    _sandbox(session, "clean")


@nox.session
def tests(session: nox.Session) -> None:
    """Test everything; with Docker wherever an engine answers, and in CI always."""
    _install(session, "torch==2.13.0")
    _install(session, "--editable", ".[node,api,wandb,dev]")
    env = {"WANDB_MODE": "offline"}
    if session.posargs:
        session.run("pytest", *session.posargs, env=env)
        return
    tests = "integration/tests"
    parts = [f"{tests}/integration/{part}" for part in ("agent", "api", "arena", "fuzz")]
    session.run("pytest", "-n", "auto", "-m", "not slow", f"{tests}/unit", *parts, env=env)
    # Real runs mostly wait, so two share two cores; more would miss their own deadlines.
    alone = [f"{tests}/integration/{part}" for part in ("autopsies", "leftovers")]
    rest = [f"--ignore={part}" for part in (*parts, *alone)]
    words = ("-m", "not slow", "--durations=25")
    beside = ("-n", "2", "--dist", "loadfile")
    session.run("pytest", *beside, *words, *rest, f"{tests}/integration", env=env)
    # Autopsies play many sweeps at once already; and whatever starts next removes what a dead run
    # left, so nothing starts beside either.
    session.run("pytest", *words, *alone, env=env)


@nox.session
def autopsy(session: nox.Session) -> None:
    """Make every known fault happen, and score the causes that are named (-- WORD, --engine)."""
    _measure(session, "autopsies", ".[node,api]")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Make programs at random, one thing wrong in each, and score the causes (-- --count N)."""
    _measure(session, "fuzz", ".[node,api]")


@nox.session
def nightly(session: nox.Session) -> None:
    """Do what takes hours: a thousand random programs, slow tests, faults under each launcher."""
    _install(session, "torch==2.13.0")
    _install(session, "--editable", ".[node,api,wandb,dev]")
    seed = str(datetime.now(timezone.utc).date().toordinal())
    launchers = ("warm", "torchrun", "plain", "shell", "run")
    parts = [[f"--launcher={one}" for one in launchers], ["--mirrored"]]
    parts.append(["--ways", "--sample=20", f"--seed={seed}"])
    kept = f"--kept=artifacts/autopsies/nightly-{seed}.jsonl"
    commands = [
        ["python", "-m", "fuzz", "--count=1000", "--seed=today"],
        ["pytest", "-m", "slow", "integration/tests"],
    ]
    commands += [
        ["python", "-m", "autopsies", "--engine", engine, *part, kept, *session.posargs]
        for engine in ("process", "compose")
        for part in parts
    ]
    failed = []
    for words in commands:
        try:
            session.run(*words, env={"WANDB_MODE": "offline", "MUTANTS_SEED": seed})
        except CommandFailed:
            failed.append(" ".join(words))
    if failed:
        session.error(f"failed: {'; '.join(failed)}")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the sandbox beside others that do the same (-- --quick, --only ROW, --write)."""
    _measure(session, "benchmarks", ".[node]")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types, scenarios and workflow files."""
    _install(session, "torch==2.13.0")
    _install(session, "--editable", ".[node,api,wandb,dev]")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("lint-imports", "--no-logo")
    session.run("metta-sandbox", "validate", "scenarios")
    _lint_workflows(session)


def _lint_workflows(session: nox.Session) -> None:
    """Check our workflows, our action, and the workflow that ``metta-sandbox init`` writes."""
    given = Path("integration/metta_sandbox/init/workflow.yml")
    workflows = [*map(str, sorted(Path(".github/workflows").glob("*.yml"))), str(given)]
    actions = [*map(str, sorted(Path(".github/actions").glob("*/action.yml")))]
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-actions", *actions)
    session.run(
        "check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml"
    )
    rules = ["--offline", "--config", ".github/zizmor.yml"]
    session.run("zizmor", *rules, *workflows, *actions)


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    nox.main()
