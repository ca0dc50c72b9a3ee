"""The command line. Commands only; what they do stands elsewhere."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from metta_sandbox import __version__
from metta_sandbox.errors import InputError, MachineError, SandboxError
from metta_sandbox.interrupt import HEARD, INTERRUPTED
from metta_sandbox.masking import hide
from metta_sandbox.safe_text import for_console, for_json

if TYPE_CHECKING:
    from metta_sandbox.scenario.untrusted import Untrusted as Bounds
    from metta_sandbox.stack.standing import Record


@contextmanager
def _safe_complaints() -> Iterator[None]:
    """Make what is said of a wrong command line safe: it repeats the line's words."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, SandboxError) and isinstance(getattr(error, "message", 0), str):
            error.message = for_console(error.message)  # type: ignore[attr-defined]
        raise


class _Commands(TyperGroup):
    """The commands. Typer itself prints what is wrong with their words."""

    def make_context(self, *words: Any, **extra: Any) -> Any:
        """Read the words before the command."""
        with _safe_complaints():
            return super().make_context(*words, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Read the words behind the command, and do it."""
        with _safe_complaints():
            return super().invoke(ctx)


app = typer.Typer(
    name="metta-sandbox",
    cls=_Commands,
    help="Test distributed sweeps on this machine: real DDP nodes, offline W&B, "
    "a stand-in control plane.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


Paths = Annotated[list[Path] | None, typer.Argument(help="Scenario files or folders.")]
Engine = Annotated[str, typer.Option(help="auto, compose or process (local processes, no Docker).")]
Artifacts = Annotated[Path, typer.Option(help="Where artifacts go.")]


def _is_no_home(folder: Path | None) -> Path | None:
    from metta_sandbox.scenario.keys import WAY_OUT, holds_keys  # noqa: PLC0415 - see below

    if folder and not folder.is_dir():  # Click lets a named pipe pass
        raise InputError(f"--source {folder}: is no folder")
    if folder and holds_keys(folder):
        raise InputError(f"--source {folder}: may hold keys", WAY_OUT)
    return folder


Source = Annotated[
    Path | None,
    typer.Option(
        callback=_is_no_home,
        exists=True,
        file_okay=False,
        resolve_path=True,
        help="A working copy that every node sees live, as its working folder.",
    ),
]
Credentials = Annotated[
    bool,
    typer.Option(
        "--credentials",
        help="Let nodes see ~/.netrc, ~/.metta, ~/.config, ~/.ssh and ~/.aws, read-only.",
    ),
]
Nodes = Annotated[int, typer.Option(min=1, max=64, help="How many nodes.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the outcome.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Every event, too.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Give a scenario file's variable a value."),
]
Secrets = Annotated[
    list[str] | None,
    typer.Option(
        "--secret",
        metavar="NAME[=VALUE]",
        help="Give nodes a variable that is masked everywhere; its value is the environment's.",
    ),
]
Untrusted = Annotated[
    bool,
    typer.Option(
        "--untrusted", help="Refuse what a stranger's scenario files may not ask of this machine."
    ),
]
AllowEnv = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A variable whose value files may have with --untrusted."),
]
RequirementsFile = Annotated[
    Path | None,
    typer.Option("--requirements", metavar="FILE", help="What your trainer imports, for pip."),
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command()
def run(
    paths: Paths = None,
    engine: Engine = "auto",
    artifacts: Artifacts = Path("artifacts"),
    filter: Annotated[  # noqa: A002 - the option's name
        list[str] | None, typer.Option(help="Only scenarios with this in their name or tags.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Goes over every scenario's own.")] = None,
    settings: Settings = None,
    secrets: Secrets = None,
    source: Source = None,
    credentials: Credentials = False,
    jobs: Annotated[
        str,
        typer.Option(metavar="N|auto", help="How many scenarios at once, as far as memory allows."),
    ] = "auto",
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Bring no stack up before the last one is gone; share nothing."
        ),
    ] = False,
    keep_nodes: Annotated[
        bool,
        typer.Option(
            help="Let scenarios of the same needs take turns on containers, or give each its own."
        ),
    ] = True,
    native_stacks: Annotated[
        bool, typer.Option("--native-stacks", help="Let autopsies read calls of C and C++, too.")
    ] = False,
    untrusted: Untrusted = False,
    allow_env: AllowEnv = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Play scenarios, write artifacts, print verdicts."""
    from metta_sandbox.play import run as playing  # noqa: PLC0415 - --help must not wait for it
    from metta_sandbox.play.options import Options  # noqa: PLC0415
    from metta_sandbox.play.secrets import read_secrets  # noqa: PLC0415
    from metta_sandbox.report.live import make_reporter  # noqa: PLC0415
    from metta_sandbox.scenario.files import find_own  # noqa: PLC0415
    from metta_sandbox.scenario.loading import read_settings  # noqa: PLC0415

    bounds = _bounds(untrusted=untrusted, allow_env=allow_env)
    if bounds and (credentials or source):
        raise InputError("--untrusted: expected no --credentials and no --source beside it")
    options = Options(
        paths=tuple(paths or find_own(Path("scenarios"))),
        settings=read_settings(settings or ()),
        secrets=read_secrets(secrets or ()),
        engine=_engine(engine),
        artifacts=artifacts,
        filter=tuple(filter or ()),
        seed=seed,
        source=source,
        credentials=credentials,
        jobs=_jobs(jobs),
        fresh=fresh,
        keep_nodes=keep_nodes,
        native_stacks=native_stacks,
        untrusted=bounds,
        ci=playing.in_ci(),
    )
    with make_reporter(quiet=quiet, verbose=verbose) as reporter:
        raise typer.Exit(playing.run(options, reporter))


@app.command()
def launch(
    words: Annotated[
        list[str], typer.Argument(help="sweep run=NAME key=value … +hardware=macbook")
    ],
    nodes: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="How many nodes [default: the standing stack's, else 2]."),
    ] = None,
    engine: Engine = "auto",
    artifacts: Artifacts = Path("artifacts"),
    source: Source = None,
    credentials: Credentials = False,
    secrets: Secrets = None,
    trainer: Annotated[
        str, typer.Option(help='Your own trainer in place of the bundled one: "python train.py".')
    ] = "",
    requirements: RequirementsFile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what each node would run and see.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Start a one-off sweep: on the standing stack if one is up, else on a stack of its own."""
    from metta_sandbox.play import run as playing  # noqa: PLC0415
    from metta_sandbox.play.dry_run import dry_run as describe  # noqa: PLC0415
    from metta_sandbox.play.launch import read_launch  # noqa: PLC0415
    from metta_sandbox.play.options import Options  # noqa: PLC0415
    from metta_sandbox.play.secrets import read_secrets  # noqa: PLC0415
    from metta_sandbox.report.live import make_reporter  # noqa: PLC0415
    from metta_sandbox.stack.standing import find_record  # noqa: PLC0415

    standing = find_record()
    scenario = read_launch(
        words, nodes or (len(standing.hosts) if standing else 2), _words(trainer), requirements
    )
    reporter = make_reporter(quiet=quiet, verbose=verbose)
    if standing and (
        reason := standing.misfit(
            engine=_engine(engine),
            nodes=scenario.nodes,
            hardware=scenario.hardware,
            source=source,
            credentials=credentials,
        )
    ):
        reporter.warn(f"not using the standing stack: {reason}")
        standing = None
    options = Options(
        given=((Path("launch"), scenario),),
        words=tuple(words),
        secrets=read_secrets(secrets or ()),
        standing=standing is not None,
        engine=_engine(engine),
        artifacts=artifacts,
        source=source,
        credentials=credentials,
        ci=playing.in_ci(),
    )
    if dry_run:
        _say(describe(scenario, options, standing, reporter.warn))
        return
    with reporter:
        raise typer.Exit(playing.run(options, reporter))


@app.command()
def up(
    nodes: Nodes = 2,
    engine: Engine = "auto",
    hardware: Annotated[str, typer.Option(help="macbook or gpu.")] = "macbook",
    source: Source = None,
    credentials: Credentials = False,
    requirements: RequirementsFile = None,
) -> None:
    """Start the standing stack; it stays until `stop`."""
    from metta_sandbox.play import standing  # noqa: PLC0415
    from metta_sandbox.play.run import in_ci  # noqa: PLC0415
    from metta_sandbox.report.console import Reporter  # noqa: PLC0415

    wanted = standing.Wanted(
        nodes=nodes,
        engine=_engine(engine),
        hardware=_one_of(hardware, ("macbook", "gpu"), "--hardware"),
        source=source,
        credentials=credentials,
        requirements=requirements,
        ci=in_ci(),
    )
    reporter = Reporter()
    try:
        started = standing.up(wanted, reporter.step, reporter.warn)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    _say("the standing stack is up" if started else "a standing stack is up already")
    status()


@app.command()
def stop() -> None:
    """Stop and remove the standing stack."""
    from metta_sandbox.play import standing  # noqa: PLC0415

    try:
        stopped = standing.stop(_say)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    _say("the standing stack is gone" if stopped else "no standing stack is up")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show the standing stack; exit status 0 only if all of it is well."""
    from metta_sandbox.report.console import plain_console  # noqa: PLC0415
    from metta_sandbox.report.status import show_status, status_json  # noqa: PLC0415
    from metta_sandbox.stack.standing import find_record  # noqa: PLC0415
    from metta_sandbox.stack.status import StackStatus, stack_status  # noqa: PLC0415

    there = find_record()
    if there:
        _hide_tokens(there)
    found = stack_status(there) if there else StackStatus("", ())
    if as_json:
        typer.echo(status_json(found))
    elif there is None:
        _say("no standing stack is up   (metta-sandbox up)")
    else:
        show_status(found, plain_console())
    if not found.well:
        raise typer.Exit(1)


@app.command()
def logs(
    service: Annotated[
        str | None, typer.Argument(help="A node, a service or a rank; default: all.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
) -> None:
    """Print the standing stack's logs, all nodes in one order."""
    from metta_sandbox.report.console import plain_console  # noqa: PLC0415
    from metta_sandbox.report.status import LogPrinter  # noqa: PLC0415
    from metta_sandbox.stack.look import all_hosts, host_named, read_logs  # noqa: PLC0415

    there = _standing()
    _hide_tokens(there)
    hosts = (host_named(there, service),) if service else all_hosts(there)
    printer = LogPrinter(all_hosts(there), plain_console())
    for line in read_logs(there, hosts, follow=follow):
        printer.show(line)


@app.command()
def shell(
    node: Annotated[str, typer.Argument(help="A node or a rank.")] = "sweep-master",
) -> None:
    """Open a shell on a node of the standing stack."""
    from metta_sandbox.stack.look import host_named, open_shell  # noqa: PLC0415

    there = _standing()
    raise typer.Exit(open_shell(there, host_named(there, node, nodes_only=True)))


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The root of your repository.")] = Path(),
) -> None:
    """Write a first scenario and a GitHub workflow; what is there already is left as it is."""
    from metta_sandbox import init as beginning  # noqa: PLC0415

    written = beginning.write(folder)
    for path in written.new:
        _say(f"wrote {path}")
    for path in written.kept:
        _say(f"{path} is there already, and was left as it is")
    scenario = shlex.quote(str(folder / beginning.SCENARIO))
    _say(f"next:\n  metta-sandbox validate {scenario}\n  metta-sandbox run {scenario}")


@app.command()
def validate(
    paths: Paths = None,
    settings: Settings = None,
    untrusted: Untrusted = False,
    allow_env: AllowEnv = None,
) -> None:
    """Check scenario files without starting anything."""
    from metta_sandbox.play.host_inputs import require_folders, require_known  # noqa: PLC0415
    from metta_sandbox.scenario.loading import load_files, read_settings  # noqa: PLC0415
    from metta_sandbox.scenario.needs import needs  # noqa: PLC0415

    given = read_settings(settings or ())
    bounds = _bounds(untrusted=untrusted, allow_env=allow_env)
    files = load_files(paths or [Path("scenarios")], given, _say, bounds)
    scenarios = [(file.path, scenario) for file in files for scenario in file.scenarios]
    require_folders(scenarios)
    if bounds:
        require_known(scenarios, bounds)
    for file in files:
        ids = [scenario.id for scenario in file.scenarios]
        if file.scenarios[0].cell is None:
            _say(f"{file.path}: {ids[0]} is valid")
        else:
            _say("\n  ".join([f"{file.path}: {len(ids)} valid scenarios", *ids]))
        if wanted := dict.fromkeys(str(need) for one in file.scenarios for need in needs(one)):
            _say(f"{file.path}: needs {', '.join(wanted)}")
        for caution in dict.fromkeys(text for one in file.scenarios for text in one.cautions):
            _say(f"{file.path}: {caution}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of scenario files, for editors."""
    from metta_sandbox.scenario.schema import schema_text  # noqa: PLC0415

    typer.echo(schema_text(), nl=False)


@app.command()
def clean() -> None:
    """Remove what crashed runs left behind, never a live one's."""
    from metta_sandbox.play.cleaning import clean_all  # noqa: PLC0415

    clean_all(_say)


@app.command()
def doctor(
    as_json: AsJson = False,
) -> None:
    """Say what is missing on this machine, and the command that mends it."""
    from metta_sandbox import doctor as doctors  # noqa: PLC0415

    report = doctors.examine()
    if as_json:
        typer.echo(for_json(report.as_json()))
    else:
        doctors.show(report)
    raise typer.Exit(0 if report.ok else MachineError.exit_status)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Test distributed sweeps on this machine."""
    if show:
        _say(__version__)
        raise typer.Exit


def _say(text: str) -> None:
    """Print text, some of which is others'."""
    typer.echo(for_console(text))


def _standing() -> Record:
    """Return the standing stack."""
    from metta_sandbox.stack.standing import find_record  # noqa: PLC0415

    there = find_record()
    if there is None:
        raise InputError("no standing stack is up", "metta-sandbox up   (or: nox -s up)")
    return there


def _hide_tokens(there: Record) -> None:
    """Hide what the credentials that a standing stack was given hold."""
    from metta_sandbox.stack.credentials import find_credentials  # noqa: PLC0415
    from metta_sandbox.stack.tokens import tokens_in  # noqa: PLC0415

    if there.credentials:
        hide(tokens_in(find_credentials()))


def _bounds(*, untrusted: bool, allow_env: list[str] | None) -> Bounds | None:
    """Say what files may ask for, if they are a stranger's."""
    from metta_sandbox.scenario.untrusted import Untrusted as Bounds  # noqa: PLC0415
    from metta_sandbox.stack.provision import node_memory  # noqa: PLC0415

    if allow_env and not untrusted:
        raise InputError("--allow-env: expected --untrusted beside it; without it, all may be read")
    return Bounds.here(node_memory(), allow_env or ()) if untrusted else None


def _engine(name: str) -> str:
    from metta_sandbox.stack.engines import ENGINES  # noqa: PLC0415

    return _one_of(name, ("auto", *ENGINES), "--engine")


def _jobs(said: str) -> int | None:
    """Read a number of jobs; None: as many as fit."""
    if said == "auto":
        return None
    if not said.isdecimal() or int(said) == 0:
        message = f"{said!r} is neither auto nor a number from 1"
        raise typer.BadParameter(message, param_hint="--jobs")
    return int(said)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise typer.BadParameter(f"{command!r}: {error}", param_hint="--trainer") from None


def _one_of(value: str, known: tuple[str, ...], option: str) -> str:
    if value not in known:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(known)}", param_hint=option)
    return value


def _tell_fault(*raised: Any) -> None:
    """Print the traceback of a fault of ours, which tells text of others."""
    sys.stderr.write(for_console("".join(traceback.format_exception(*raised))))


def _tell_fault_of_thread(args: threading.ExceptHookArgs) -> None:
    """Do so for a thread; as in Python itself, one that ends by SystemExit says nothing."""
    if args.exc_type is not SystemExit:
        _tell_fault(args.exc_type, args.exc_value, args.exc_traceback)


def main() -> None:
    """Run the command line; errors of ours are said without a traceback."""
    threading.excepthook = _tell_fault_of_thread
    ended = False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True
        sys.exit(INTERRUPTED)

    for number in HEARD:
        # Until something runs that has to be ended in order.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
    try:
        app()
    except KeyboardInterrupt:
        # One that came where nothing else was listening any more.
        sys.exit(INTERRUPTED)
    except SandboxError as error:
        sys.stderr.write(f"{for_console(str(error))}\n")
        sys.exit(error.exit_status)
    except Exception:  # noqa: BLE001 - whatever it is
        if ended:
            # Whatever was interrupted made an exception of its own out of that, as pydantic does.
            sys.exit(INTERRUPTED)
        _tell_fault(*sys.exc_info())
        sys.exit(1)
    finally:
        # All is done and said: what comes while the interpreter ends must not change the status.
        for number in HEARD:
            signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    main()
