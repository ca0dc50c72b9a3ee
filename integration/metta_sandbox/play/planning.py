"""What a scenario asks for, as a stack's plan and as the job of its nodes."""

from __future__ import annotations

from pathlib import Path

from metta_sandbox.masking import hide
from metta_sandbox.node.agent.stacks import NATIVE_STACKS
from metta_sandbox.node.fresh import FRESH
from metta_sandbox.play import workspace
from metta_sandbox.play.course import Course, Setting
from metta_sandbox.play.host_inputs import provision
from metta_sandbox.play.isolation import why_isolated
from metta_sandbox.play.job import Job
from metta_sandbox.play.resume import resume
from metta_sandbox.play.secrets import secrets_of
from metta_sandbox.play.sidecar_needs import sidecars
from metta_sandbox.scenario.loading import to_yaml
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.services import ANSWERS
from metta_sandbox.stack.credentials import find_credentials
from metta_sandbox.stack.engines.base import StackPlan
from metta_sandbox.stack.tokens import tokens_in


def plan_of(scenario: Scenario, file: Path, folder: Path, setting: Setting) -> StackPlan:
    """Plan a scenario's stack, and put what its nodes must find into its folder."""
    plan = StackPlan(
        run=setting.owner.run,
        scenario=folder.name,
        hosts=scenario.hosts,
        folder=folder.resolve(),
        hardware=scenario.hardware,
        source=setting.source,
        credentials=find_credentials() if scenario.credentials or setting.credentials else (),
        provision=provision(scenario, file, secrets_of(scenario, file, setting.secrets)),
        sidecars=sidecars(scenario),
        apart=why_isolated(
            scenario, source=setting.source is not None, credentials=setting.credentials
        ),
    )
    for each in plan.credentials:
        setting.progress(f"nodes see ~/{each.name}, read-only")
    plan.run_folder.mkdir()
    hide(tokens_in(plan.credentials, plan.provision.mounts))
    (folder / "scenario.yaml").write_text(to_yaml(scenario))
    plan.scenario_file.write_text(to_yaml(scenario.for_nodes(setting.secrets)))
    workspace.place(scenario, file, plan)
    if scenario.sweep.resume:
        resume(scenario, file, plan, setting.progress)
    if scenario.services.api:
        answers = folder / "api" / ANSWERS
        answers.parent.mkdir(exist_ok=True)
        answers.write_text(scenario.services.model_dump_json(indent=2) + "\n")
    return plan


def job_of(course: Course, scenario: Scenario, file: Path, setting: Setting) -> Job:
    """Say what every node is told to run, once the stack is up."""
    assert course.plan is not None
    assert course.stack is not None
    assert course.nodes is not None
    base = course.stack.working_folder()
    live = workspace.is_live(course.plan, base)
    return Job(
        python=course.stack.python,
        run=scenario.sweep.name,
        words=setting.words or sweep_words(scenario),
        cwd=base,
        env={
            **course.stack.service_environment(course.nodes.api),
            **({NATIVE_STACKS: "1"} if setting.native_stacks else {}),
            # What is shown live is the user's own.
            **({FRESH: "1"} if scenario.workload.fresh_trials and not live else {}),
        },
        num_gpus=course.plan.num_gpus,
        folders={
            host: workspace.working_folder(scenario, course.plan, base, host)
            for host in scenario.hosts
        },
        variables={**scenario.workload.env, **secrets_of(scenario, file, setting.secrets)},
        index=course.stack.index_environment(course.nodes.api),
        script=scenario.workload.run,
        warm=scenario.workload.trainer.launcher == "warm" and scenario.hardware != "gpu",
    )


def sweep_words(scenario: Scenario) -> tuple[str, ...]:
    """Build the command that starts on every node."""
    return ("sweep", f"run={scenario.sweep.name}", f"+hardware={scenario.hardware}")
