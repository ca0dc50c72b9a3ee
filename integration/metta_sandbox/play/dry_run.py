"""What a launch would start, said and not done."""

from __future__ import annotations

import io
import shlex
from typing import Any

from ruamel.yaml import YAML

from metta_sandbox.play.job import Job, job_command
from metta_sandbox.play.options import Options
from metta_sandbox.play.planning import sweep_words
from metta_sandbox.progress import Progress
from metta_sandbox.scenario.loading import to_yaml
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.stack.credentials import find_credentials
from metta_sandbox.stack.engines import choose
from metta_sandbox.stack.engines.base import StackPlan
from metta_sandbox.stack.lease import Owner
from metta_sandbox.stack.standing_record import StandingRecord
from metta_sandbox.stack.status import stack_status

#: Stands for the id that the run would get.
RUN = "RUN"


def dry_run(options: Options, standing: StandingRecord | None, notice: Progress) -> str:
    """Say exactly what each node would run and see, as YAML; nothing is started.

    What is known only once a stack is up stands as a word in capitals.

    Args:
        options: What the command line says, with the one scenario that would be played.
        standing: The standing stack, if that would be used.
        notice: Gets one line when local processes would take Docker's place.

    """
    (launched,) = options.given
    scenario = launched.scenario
    engine = choose(standing.engine if standing else options.engine, ci=options.ci, notice=notice)
    plan = standing.plan() if standing else _plan(scenario, options)
    stack = engine.lease(plan, Owner(plan.run), notice)
    told = stack.preview()
    if standing:
        parts = stack_status(standing).parts
        addresses = [part.address for part in parts if part.rank is not None]
        services = stack.service_environment(standing.ready)
    else:
        addresses = [f"ADDRESS-OF-{host}" for host in scenario.hosts]
        services = {}
    words = options.words or sweep_words(scenario)
    job = Job(
        python=stack.python,
        run=scenario.sweep.name,
        words=words,
        cwd=stack.working_folder(),
        env=services,
        num_gpus=plan.num_gpus,
    )
    nodes: dict[str, Any] = {}
    for rank, host in enumerate(scenario.hosts):
        seen = told["nodes"][host]
        environment = {**seen["environment"], **job.environment(rank, addresses)}
        if environment["MASTER_PORT"] == "0":
            url = f"tcp://{environment['MASTER_ADDR']}:PORT"
            environment |= {"MASTER_PORT": "PORT", "DIST_URL": url}
        nodes[host] = {
            "run": shlex.join(job_command(job)),
            **seen,
            "folder": job.cwd,
            "environment": environment,
        }
    rest = {key: value for key, value in told.items() if key != "nodes"}
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 4096
    text = io.StringIO()
    where = "the standing stack" if standing else "a stack of its own"
    shown = {"engine": f"{engine.name}, {where}", "nodes": nodes, **rest}
    shown["scenario"] = yaml.load(to_yaml(scenario))
    yaml.dump(shown, text)
    return text.getvalue()


def _plan(scenario: Scenario, options: Options) -> StackPlan:
    return StackPlan(
        run=RUN,
        scenario=scenario.name,
        hosts=scenario.hosts,
        folder=options.artifacts.resolve() / RUN / scenario.name,
        hardware=scenario.hardware,
        source=options.source,
        credentials=find_credentials() if options.credentials else (),
    )
