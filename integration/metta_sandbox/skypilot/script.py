"""The bash that plays a task's ``setup`` and ``run``, as SkyPilot does. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from metta_sandbox.skypilot.variables import ADDITIONS

#: In front of a variable's name, where its value waits until ``~/.bashrc`` has been read.
CARRIER = "METTA_TASK_"
#: Writes the script to a file and has an interactive bash run it. Such a bash reads ``~/.bashrc``
#: even where that turns others away; what it says of having no terminal goes nowhere.
_START = (
    'file=$(mktemp "${TMPDIR:-/tmp}/sky_app_XXXXXXXX") && printf %s "$1" > "$file" '
    '&& exec bash -i "$file" 9>&2 2> /dev/null'
)
#: Before the task's own commands: W&B runs go where they are collected from.
_TRACKED = 'export WANDB_DIR="${WANDB_DIR:-$METTA_RUN_FOLDER}"'


def carried(variables: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Give variables the names under which they wait."""
    return {f"{CARRIER}{name}": text for name, text in variables}


def command(script: str) -> list[str]:
    """Build the command that runs a script on a node."""
    return ["bash", "-c", _START, "bash", script]


def script(body: str, names: Sequence[str], *, bare: bool, hook: str) -> str:
    """Write the script of one node.

    Args:
        body: The task's ``setup`` or ``run``.
        names: The variables that wait for it, in the order in which they are exported.
        bare: Whether it sees nothing of ours.
        hook: Shell commands that let the flight recorder into what it starts.

    """
    return "\n".join(
        [
            "#!/bin/bash",
            "exec 2>&9 9>&-",
            *([f"unset {' '.join(one.name for one in ADDITIONS)}"] if bare else []),
            "if [ -f ~/.bashrc ]; then source ~/.bashrc; fi",
            "set -a",
            '. "$(conda info --base 2> /dev/null)/etc/profile.d/conda.sh" > /dev/null 2>&1 || true',
            "set +a",
            "unset VIRTUAL_ENV VIRTUAL_ENV_PROMPT",
            # Into which pip may write, unless there is an environment of conda's.
            'if [ -z "${CONDA_PREFIX:-}" ] && [ -f ~/sky-user-env/bin/activate ]; then',
            "  source ~/sky-user-env/bin/activate",
            "fi",
            "export PYTHONUNBUFFERED=1",
            "cd ~/sky_workdir",
            *(f'export {name}="${CARRIER}{name}"; unset {CARRIER}{name}' for name in names),
            *([] if bare else [_TRACKED, hook]),
            body,
            "exit $?",
            "",
        ]
    )
