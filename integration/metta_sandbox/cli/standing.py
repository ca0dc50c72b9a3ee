"""Commands for the standing stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from metta_sandbox.cli.options import AsJson, Credentials, Engine, RequirementsFile, Source, one_of
from metta_sandbox.cli.safely import say
from metta_sandbox.errors import InputError
from metta_sandbox.interrupt import INTERRUPTED
from metta_sandbox.masking import hide

if TYPE_CHECKING:
    from metta_sandbox.stack.standing_record import StandingRecord


def up(
    nodes: Annotated[int, typer.Option(min=1, max=64, help="How many nodes.")] = 2,
    engine: Engine = "auto",
    hardware: Annotated[str, typer.Option(help="macbook or gpu.")] = "macbook",
    source: Source = None,
    credentials: Credentials = False,
    requirements: RequirementsFile = None,
) -> None:
    """Start the standing stack; it stays until `stop`."""
    from metta_sandbox.play import standing
    from metta_sandbox.play.options import Options, in_ci
    from metta_sandbox.report.console import Reporter

    hardware = one_of(hardware, ("macbook", "gpu"), "--hardware")
    options = Options(
        engine=engine,
        source=source,
        requirements=requirements,
        credentials=credentials,
        ci=in_ci(),
    )
    reporter = Reporter()
    try:
        started = standing.up(options, reporter.step, reporter.warn, nodes=nodes, hardware=hardware)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    say("the standing stack is up" if started else "a standing stack is up already")
    status()


def stop() -> None:
    """Stop and remove the standing stack."""
    from metta_sandbox.play import standing

    try:
        stopped = standing.stop(say)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    say("the standing stack is gone" if stopped else "no standing stack is up")


def status(as_json: AsJson = False) -> None:
    """Show the standing stack; exit status 0 only if all of it is well."""
    from metta_sandbox.report.console import plain_console
    from metta_sandbox.report.status import show_status, status_json
    from metta_sandbox.stack.standing_record import find_record
    from metta_sandbox.stack.status import StackStatus, stack_status

    there = find_record()
    if there:
        _hide_tokens(there)
    found = stack_status(there) if there else StackStatus("", ())
    if as_json:
        typer.echo(status_json(found))
    elif there is None:
        say("no standing stack is up   (metta-sandbox up)")
    else:
        show_status(found, plain_console())
    if not found.well:
        raise typer.Exit(1)


def logs(
    service: Annotated[
        str | None, typer.Argument(help="A node, a service or a rank; default: all.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
) -> None:
    """Print the standing stack's logs, all nodes in one order."""
    from metta_sandbox.report.console import plain_console
    from metta_sandbox.report.status import LogPrinter
    from metta_sandbox.stack.look import all_hosts, host_named, read_logs

    there = _standing()
    _hide_tokens(there)
    hosts = (host_named(there, service),) if service else all_hosts(there)
    printer = LogPrinter(all_hosts(there), plain_console())
    for line in read_logs(there, hosts, follow=follow):
        printer.show(line)


def shell(
    node: Annotated[str, typer.Argument(help="A node or a rank.")] = "sweep-master",
) -> None:
    """Open a shell on a node of the standing stack."""
    from metta_sandbox.stack.look import host_named, open_shell

    there = _standing()
    raise typer.Exit(open_shell(there, host_named(there, node, nodes_only=True)))


def _standing() -> StandingRecord:
    """Return the standing stack."""
    from metta_sandbox.stack.standing_record import find_record

    there = find_record()
    if there is None:
        raise InputError("no standing stack is up", "metta-sandbox up   (or: nox -s up)")
    return there


def _hide_tokens(there: StandingRecord) -> None:
    """Hide what the credentials that a standing stack was given hold."""
    from metta_sandbox.stack.credentials import find_credentials
    from metta_sandbox.stack.tokens import tokens_in

    if there.credentials:
        hide(tokens_in(find_credentials()))
