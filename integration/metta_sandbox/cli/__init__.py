"""The command line. Commands only; what they do stands elsewhere."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from typing import Any

import typer

from metta_sandbox.cli import wandb
from metta_sandbox.cli.files import init, schema, validate
from metta_sandbox.cli.machine import clean, doctor, version
from metta_sandbox.cli.playing import launch, run
from metta_sandbox.cli.safely import Commands
from metta_sandbox.cli.standing import logs, shell, status, stop, up
from metta_sandbox.errors import SandboxError
from metta_sandbox.interrupt import HEARD, INTERRUPTED
from metta_sandbox.safe_text import for_console

#: In the order in which --help lists them.
COMMANDS = (
    run, launch, up, stop, status, logs, shell, init, validate, schema, clean, doctor,
)  # fmt: skip

app = typer.Typer(
    name="metta-sandbox",
    cls=Commands,
    help="Test distributed sweeps on this machine: real DDP nodes, offline W&B, "
    "a stand-in control plane.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.callback(invoke_without_command=True)(version)
for command in COMMANDS:
    # What is no option of launch's may be Hydra's.
    app.command(context_settings={"ignore_unknown_options": command is launch})(command)
app.add_typer(wandb.app, name="wandb")


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
