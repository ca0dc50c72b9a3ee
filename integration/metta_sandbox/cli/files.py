"""Commands for scenario files."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from metta_sandbox.cli.options import AllowEnv, Paths, Settings, Untrusted, bounds_of
from metta_sandbox.cli.safely import say


def init(
    folder: Annotated[Path, typer.Argument(help="The root of your repository.")] = Path(),
) -> None:
    """Write a first scenario and a GitHub workflow; what is there already is left as it is."""
    from metta_sandbox import init as beginning

    written = beginning.write(folder)
    for path in written.new:
        say(f"wrote {path}")
    for path in written.kept:
        say(f"{path} is there already, and was left as it is")
    scenario = shlex.quote(str(folder / beginning.SCENARIO))
    say(f"next:\n  metta-sandbox validate {scenario}\n  metta-sandbox run {scenario}")


def validate(
    paths: Paths = None,
    settings: Settings = None,
    untrusted: Untrusted = False,
    allow_env: AllowEnv = None,
) -> None:
    """Check scenario files without starting anything."""
    from metta_sandbox.play.host_inputs import require_folders, require_known
    from metta_sandbox.scenario.loading import load_files, read_settings
    from metta_sandbox.scenario.needs import needs

    given = read_settings(settings or ())
    bounds = bounds_of(untrusted=untrusted, allow_env=allow_env)
    files = load_files(paths or [Path("scenarios")], given, say, bounds)
    scenarios = [one for file in files for one in file.loaded]
    require_folders(scenarios)
    if bounds:
        require_known(scenarios, bounds)
    for file in files:
        ids = [scenario.id for scenario in file.scenarios]
        if file.scenarios[0].cell is None:
            say(f"{file.path}: {ids[0]} is valid")
        else:
            say("\n  ".join([f"{file.path}: {len(ids)} valid scenarios", *ids]))
        if wanted := dict.fromkeys(str(need) for one in file.scenarios for need in needs(one)):
            say(f"{file.path}: needs {', '.join(wanted)}")
        for caution in dict.fromkeys(text for one in file.scenarios for text in one.cautions):
            say(f"{file.path}: {caution}")


def schema() -> None:
    """Print the JSON Schema of scenario files, for editors."""
    from metta_sandbox.scenario.schema import schema_text

    typer.echo(schema_text(), nl=False)
