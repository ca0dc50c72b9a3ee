"""What a scenario asks for, as a stack's plan and as the job of its nodes."""

from __future__ import annotations

from pathlib import Path

from metta_sandbox.masking import hide
from metta_sandbox.node.agent.events import GroupClosing
from metta_sandbox.node.agent.injection.hook import CLOSING
from metta_sandbox.node.agent.stacks import NATIVE_STACKS
from metta_sandbox.node.fresh import FRESH
from metta_sandbox.play import workspace
from metta_sandbox.play.host_inputs import provision
from metta_sandbox.play.isolation import sidecars, why_isolated
from metta_sandbox.play.job import Job
from metta_sandbox.play.reached import Connected
from metta_sandbox.play.resume import resume
from metta_sandbox.play.secrets import secrets_of
from metta_sandbox.play.setting import Setting
from metta_sandbox.play.task_files import with_task_files
from metta_sandbox.scenario.abilities import Ability
from metta_sandbox.scenario.loading import Loaded, to_yaml
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.services import ANSWERS, Services
from metta_sandbox.stack.credentials import find_credentials
from metta_sandbox.stack.engines.base import StackPlan
from metta_sandbox.stack.tokens import tokens_in


def plan_of(loaded: Loaded, folder: Path, setting: Setting) -> StackPlan:
    """Plan a scenario's stack, and put what its nodes must find into its folder."""
    scenario = loaded.scenario
    options = setting.options
    plan = StackPlan(
        run=setting.owner.run,
        scenario=folder.name,
        hosts=scenario.hosts,
        folder=folder.resolve(),
        hardware=scenario.hardware,
        source=options.source,
        credentials=find_credentials() if scenario.credentials or options.credentials else (),
        provision=provision(loaded, secrets_of(loaded, options.secrets)),
        sidecars=sidecars(scenario),
        wandb=scenario.services.serves_wandb,
        apart=why_isolated(
            scenario, source=options.source is not None, credentials=options.credentials
        ),
    )
    for each in plan.credentials:
        setting.progress(f"nodes see ~/{each.name}, read-only")
    plan.run_folder.mkdir()
    hide(tokens_in(plan.credentials, plan.provision.mounts))
    (folder / "scenario.yaml").write_text(to_yaml(scenario))
    plan.scenario_file.write_text(to_yaml(scenario.for_nodes(options.secrets)))
    workspace.place(loaded, plan)
    plan = with_task_files(scenario, plan, containers=Ability.CONTAINERS in setting.engine.has)
    if scenario.sweep.resume:
        resume(loaded, plan, setting.progress)
    if scenario.services != Services():
        answers = folder / "api" / ANSWERS
        answers.parent.mkdir(exist_ok=True)
        answers.write_text(scenario.services.model_dump_json(indent=2) + "\n")
    return plan


def job_of(up: Connected, loaded: Loaded, setting: Setting) -> Job:
    """Say what every node is told to run, once the stack is up."""
    scenario, options = loaded.scenario, setting.options
    base = up.stack.working_folder()
    live = workspace.is_live(up.plan, base)
    return Job(
        python=up.stack.python,
        run=scenario.sweep.name,
        words=options.words or sweep_words(scenario),
        cwd=base,
        env={
            **{
                name: value
                for name, value in up.stack.service_environment(up.nodes.api).items()
                # Whoever says otherwise where to track means it.
                if not (name.startswith("WANDB_") and name in scenario.workload.env)
            },
            **({NATIVE_STACKS: "1"} if options.native_stacks else {}),
            # What is shown live is the user's own.
            **({FRESH: "1"} if scenario.workload.fresh_trials and not live else {}),
        },
        num_gpus=up.plan.num_gpus,
        folders={
            host: workspace.working_folder(scenario, up.plan, base, host) for host in scenario.hosts
        },
        variables={
            **scenario.workload.env,
            **secrets_of(loaded, options.secrets),
            **({CLOSING: "1"} if _waits_for_closing(scenario) else {}),
        },
        index=up.stack.index_environment(up.nodes.api),
        script=scenario.workload.run,
        task=scenario.workload.skypilot,
        launched=options.launched,
        warm=scenario.workload.trainer.launcher == "warm" and scenario.hardware != "gpu",
    )


def _waits_for_closing(scenario: Scenario) -> bool:
    """Tell whether a fault waits for a process group to be left."""
    triggers = (trigger for fault in scenario.faults for trigger in (fault.when, fault.until))
    return any(trigger and trigger.event == GroupClosing.name for trigger in triggers)


def sweep_words(scenario: Scenario) -> tuple[str, ...]:
    """Build the command that starts on every node."""
    return ("sweep", f"run={scenario.sweep.name}", f"+hardware={scenario.hardware}")
