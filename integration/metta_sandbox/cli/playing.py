"""Commands that play scenarios and one-off sweeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from metta_sandbox.cli.options import (
    AllowEnv,
    Artifacts,
    Credentials,
    Engine,
    Paths,
    Quiet,
    RequirementsFile,
    Secrets,
    Settings,
    Source,
    Untrusted,
    Verbose,
    bounds_of,
    jobs_of,
    words_of,
)
from metta_sandbox.cli.safely import say
from metta_sandbox.errors import InputError


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
    from metta_sandbox.play import run as playing
    from metta_sandbox.play.options import Options, in_ci
    from metta_sandbox.play.secrets import read_secrets
    from metta_sandbox.report.live import make_reporter
    from metta_sandbox.scenario.files import find_own
    from metta_sandbox.scenario.loading import read_settings

    bounds = bounds_of(untrusted=untrusted, allow_env=allow_env)
    if bounds and (credentials or source):
        raise InputError("--untrusted: expected no --credentials and no --source beside it")
    options = Options(
        paths=tuple(paths or find_own(Path("scenarios"))),
        settings=read_settings(settings or ()),
        secrets=read_secrets(secrets or ()),
        engine=engine,
        artifacts=artifacts,
        filter=tuple(filter or ()),
        seed=seed,
        source=source,
        credentials=credentials,
        jobs=jobs_of(jobs),
        fresh=fresh,
        keep_nodes=keep_nodes,
        native_stacks=native_stacks,
        untrusted=bounds,
        ci=in_ci(),
    )
    with make_reporter(quiet=quiet, verbose=verbose) as reporter:
        raise typer.Exit(playing.run(options, reporter))


def launch(
    words: Annotated[
        list[str],
        typer.Argument(help="sweep run=NAME key=value … +hardware=macbook, or a task.yaml"),
    ],
    nodes: Annotated[
        int | None,
        typer.Option(
            "--nodes",
            "--num-nodes",
            min=1,
            max=64,
            help="How many nodes [default: the task's, or the standing stack's, else 2].",
        ),
    ] = None,
    engine: Engine = "auto",
    artifacts: Artifacts = Path("artifacts"),
    source: Source = None,
    credentials: Credentials = False,
    secrets: Secrets = None,
    requirements: RequirementsFile = None,
    trainer: Annotated[
        str, typer.Option(help='Your own trainer in place of the bundled one: "python train.py".')
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what each node would run and see.")
    ] = False,
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[=VALUE]", help="A task's variable, over its envs."),
    ] = None,
    bucket: Annotated[
        list[str] | None,
        typer.Option(metavar="s3://NAME=DIR", help="A folder in place of a task's bucket."),
    ] = None,
    bare: Annotated[
        bool, typer.Option("--bare", help="Add nothing to what SkyPilot sets for a task.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Start a one-off sweep, or a SkyPilot task.

    A sweep starts on the standing stack if one is up, else on a stack of its own; a task always on
    nodes of its own.
    """
    from metta_sandbox.play import launch_task
    from metta_sandbox.play import run as playing
    from metta_sandbox.play.dry_run import dry_run as describe
    from metta_sandbox.play.launch import prepare_launch
    from metta_sandbox.play.options import Options, in_ci
    from metta_sandbox.play.secrets import read_secrets
    from metta_sandbox.report.live import make_reporter

    reporter = make_reporter(quiet=quiet, verbose=verbose)
    given = read_secrets(secrets or ())
    task = launch_task.is_task(words)
    if task and (trainer or dry_run or requirements):
        raise InputError(f"{words[0]}: a task goes with no --trainer, --requirements and --dry-run")
    if not task and (env or bucket or bare):
        raise InputError("--env, --bucket and --bare are for a SkyPilot task: launch task.yaml")
    options = Options(
        words=() if task else tuple(words),
        secrets=given,
        engine=engine,
        artifacts=artifacts,
        source=source,
        requirements=requirements,
        credentials=credentials,
        ci=in_ci(),
    )
    if task:
        asked = launch_task.Asked(
            nodes=nodes,
            env=launch_task.read_env(env or ()),
            secrets=tuple(given),
            buckets=launch_task.read_buckets(bucket or ()),
            bare=bare,
        )
        options = replace(options, jobs=1, follow=True)
        with reporter:
            raise typer.Exit(launch_task.play(words, asked, options, reporter))
    options, standing = prepare_launch(options, nodes, words_of(trainer), reporter.warn)
    if dry_run:
        say(describe(options, standing, reporter.warn))
        return
    with reporter:
        raise typer.Exit(playing.run(options, reporter))
