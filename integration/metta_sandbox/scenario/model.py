"""The scenario file, version 1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator
from typing_extensions import Self

from metta_sandbox.scenario.artifacts import Artifacts
from metta_sandbox.scenario.base import Misfit, Part, misfit
from metta_sandbox.scenario.expect import Expectation, ExpectationItem
from metta_sandbox.scenario.faults import AnyFault
from metta_sandbox.scenario.faults.possible import impossible_faults
from metta_sandbox.scenario.names import API, node_host
from metta_sandbox.scenario.overrides import split_key
from metta_sandbox.scenario.possible import impossible, no_such_rank, unlikely
from metta_sandbox.scenario.search import Choice, Range, Sweep
from metta_sandbox.scenario.secrets import Secret, Secrets, referring
from metta_sandbox.scenario.services import Services
from metta_sandbox.scenario.steady_state import State
from metta_sandbox.scenario.units import Duration
from metta_sandbox.scenario.values import Value
from metta_sandbox.scenario.workload import Workload, misfit_of, variable_of
from metta_sandbox.words import many


class Cell(Part):
    """The cell of a matrix that a scenario came from; written for it, not by a file's author."""

    id: str = Field(min_length=1, description="How reports name it: `basic[nodes=2]`.")
    values: dict[str, Value] = Field(description="What makes it differ, by the matrix's keys.")


#: By limit: its default in seconds for two nodes, and what each further one adds.
_LIMITS = {"deadline": (600.0, 60.0), "longest_silence": (60.0, 10.0)}


class Scenario(Part):
    """A scenario: who takes part, what is swept, what must hold afterwards."""

    version: Literal[1] = Field(description="The version of this language.")
    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        max_length=64,
        description="Names the scenario, its folder of artifacts and, by default, its sweep.",
    )
    description: str = Field(default="", description="One sentence on what it shows.")
    tags: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=(), description="Words to filter by."
    )
    nodes: int = Field(default=2, ge=1, le=64, description="How many nodes, each a rank.")
    hardware: Literal["macbook", "gpu"] = Field(
        default="macbook", description="The profile: CPU and gloo (macbook), or GPUs and NCCL."
    )
    seed: int = Field(
        default=42, ge=0, lt=2**32, description="Fixes suggestions, environments and parameters."
    )
    deadline: Duration = Field(
        default=_LIMITS["deadline"][0],
        description="The longest the sweep may take. Default: 10m, and 1m more for each node above "
        "two.",
    )
    longest_silence: Duration = Field(
        default=_LIMITS["longest_silence"][0],
        description="The run ends after this long without an event or a log line. Default: 1m, and "
        "10s more for each node above two, since all of them import torch at once.",
    )
    handoff_timeout: Duration | None = Field(
        default=None,
        description="The longest that a node waits for the others at a hand-off. Default: four "
        "times longest_silence, and 15s.",
    )
    on_node_failure: Literal["end_job", "rejoin"] = Field(
        default="end_job",
        description="What follows when a node is lost: the job ends (SkyPilot), or the trial "
        "fails and the node rejoins at the next one, if it is back within longest_silence.",
    )
    credentials: bool = Field(
        default=False,
        description="Whether nodes see ~/.netrc, ~/.metta, ~/.config, ~/.ssh and ~/.aws, "
        "read-only, those that exist.",
    )
    secrets: Secrets = Field(
        default_factory=dict,
        description="Variables that setup, run and trainers see, and nobody else: masked wherever "
        "anything is written. Their values are in the environment, or in files.",
    )
    workload: Workload = Field(default_factory=Workload, description="What runs on the nodes.")
    sweep: Sweep = Field(default_factory=Sweep, description="The search.")
    services: Services = Field(
        default_factory=Services, description="What the stack's services answer."
    )
    artifacts: Artifacts = Field(
        default_factory=Artifacts,
        description="How much of what nodes write into their shared folder is kept.",
    )
    steady_state: Annotated[tuple[State, ...], Field(strict=False)] = Field(
        default=(),
        description="What must hold before the sweep starts, and again when it is over.",
    )
    faults: Annotated[tuple[AnyFault, ...], Field(strict=False)] = Field(
        default=(), description="What goes wrong on purpose, each with what sets it off."
    )
    expect: Annotated[tuple[Expectation, ...], Field(strict=False)] = Field(
        default=(), description="What must hold afterwards, read from top to bottom."
    )

    cell: Cell | None = Field(
        default=None, description="The matrix's cell it came from, in scenarios as played."
    )

    #: Values of the file's secret variables, which no dump, comparison or message shows.
    _values: dict[str, str] = PrivateAttr(default_factory=dict)

    def knowing(self, values: Mapping[str, str]) -> Self:
        """Give the same with the values of the secret variables that its workload refers to."""
        copy = self.model_copy()
        copy._values = dict(values)  # noqa: SLF001 - of this class
        return copy

    @property
    def secret_env(self) -> dict[str, str]:
        """The variables of ``workload.env`` that hold secrets, with their values."""
        return dict(referring(self.workload.env, self._values))

    def for_nodes(self, others: Iterable[str] = ()) -> Scenario:
        """Give the same without variables that hold secrets, but for their names.

        Args:
            others: Names of further secrets, which the command line gives.

        """
        hidden = self.secret_env
        if not (hidden or others):
            return self
        env = {name: text for name, text in self.workload.env.items() if name not in hidden}
        workload = self.workload.model_copy(update={"env": env})
        secrets = {**self.secrets, **{name: Secret() for name in (*hidden, *others)}}
        return self.model_copy(update={"workload": workload, "secrets": secrets})

    @property
    def id(self) -> str:
        """How reports name it: the name, or the cell's."""
        return self.cell.id if self.cell else self.name

    @property
    def hosts(self) -> tuple[str, ...]:
        """The nodes' host names, by rank."""
        return tuple(node_host(rank) for rank in range(self.nodes))

    @property
    def ranks(self) -> int:
        """How many ranks a trial has on all nodes."""
        return self.nodes * self.workload.trainer.ranks_per_node

    @property
    def warm(self) -> bool:
        """Whether its trainers are forked from processes that have imported torch."""
        workload = self.workload
        return (
            workload.run is None and workload.trainer.launcher == "warm" and self.hardware != "gpu"
        )

    @property
    def overrides(self) -> dict[str, Value]:
        """The settings all trials share, by dotted key; deletions are left out."""
        pairs = ((split_key(key), value) for key, value in self.workload.trainer.overrides.items())
        return {key: value for (op, key), value in pairs if op != "~"}

    @property
    def search_space(self) -> dict[str, Range | Choice]:
        """What is searched, by dotted key, in the order of the file."""
        return dict(self.sweep.parameters)

    @property
    def cautions(self) -> tuple[str, ...]:
        """What is allowed but worth a line when the file is checked."""
        found = []
        if self.sweep.cost == "seconds":
            found.append(
                "sweep.cost: seconds differ from run to run, so the same seed no longer gives the "
                "same suggestions; agent_steps would"
            )
        trainer = self.workload.trainer
        if not trainer.bundled and trainer.score is None:
            found.append(
                f"workload.trainer.score: not said, so the last event that carries "
                f"{self.sweep.metric} counts, or else the bundled evaluation of checkpoint.pt"
            )
        if self.workload.skypilot:
            found += (f"workload.task: {note}" for note in self.workload.skypilot.notes)
        found += unlikely(self.expect)
        if not self.expect:
            found.append("expect: nothing is expected, so only a broken run can fail")
        return tuple(found)

    @model_validator(mode="before")
    @classmethod
    def _name_the_sweep(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or not isinstance(data.get("name"), str):
            return data
        sweep = data.get("sweep", {})
        if isinstance(sweep, Mapping) and "name" not in sweep:
            return {**data, "sweep": {**sweep, "name": data["name"]}}
        return data

    @model_validator(mode="before")
    @classmethod
    def _give_many_nodes_time(cls, data: Any) -> Any:
        nodes = data.get("nodes") if isinstance(data, Mapping) else None
        if not isinstance(nodes, int) or nodes <= 2:  # noqa: PLR2004 - what the defaults are for
            return data
        more = {name: two + each * (nodes - 2) for name, (two, each) in _LIMITS.items()}
        return {**more, **data}

    @field_validator("version", mode="before")
    @classmethod
    def _is_number(cls, value: Any) -> Any:
        if isinstance(value, bool):  # which Python takes for 1
            raise ValueError("expected 1")
        if isinstance(value, str):
            raise ValueError("expected the number 1, without quotes")
        return value

    @field_validator("workload")
    @classmethod
    def _scores_a_rank(cls, value: Workload, info: ValidationInfo) -> Workload:
        nodes = info.data.get("nodes")
        if nodes is not None and (message := no_such_rank(nodes, value)):
            raise misfit([(("trainer", "score", "rank"), message)])
        return value

    @field_validator("workload")
    @classmethod
    def _suits_the_secrets(cls, value: Workload, info: ValidationInfo) -> Workload:
        faults: list[Misfit] = [
            (("env", name), "is one of the secrets, too")
            for name in value.env
            if name in info.data.get("secrets", {})
        ]
        faults += [
            (("build", "secrets", index), f"{name} is none of the secrets")
            for index, name in enumerate(value.build.secrets if value.build else ())
            if name not in info.data.get("secrets", {})
        ]
        if faults:
            raise misfit(faults)
        return value

    @field_validator("sweep")
    @classmethod
    def _suits_trainer(cls, value: Sweep, info: ValidationInfo) -> Sweep:
        workload = info.data.get("workload")
        if workload is None:
            return value
        faults: list[Misfit] = []
        if workload.run is not None:
            faults = [
                ((key,), "nobody suggests anything to workload.run")
                for key in ("parameters", "retries", "resume")
                if getattr(value, key)
            ]
        elif workload.trainer.bundled:
            for key, parameter in value.parameters.items():
                if message := misfit_of(key, parameter):
                    faults.append((("parameters", key), message))
        elif workload.trainer.overrides_style == "env":
            faults = _clashes([*workload.trainer.overrides, *value.parameters], value)
        if faults:
            raise misfit(faults)
        return value

    @field_validator("faults")
    @classmethod
    def _can_happen(cls, value: tuple[AnyFault, ...], info: ValidationInfo) -> tuple[AnyFault, ...]:
        nodes, workload, sweep = (info.data.get(key) for key in ("nodes", "workload", "sweep"))
        if nodes is None or workload is None or sweep is None:
            return value
        hosts = [node_host(rank) for rank in range(nodes)]
        if faults := list(impossible_faults(value, hosts, workload, sweep)):
            raise misfit(faults)
        return value

    @field_validator("expect", "steady_state")
    @classmethod
    def _can_be(
        cls, value: tuple[ExpectationItem, ...], info: ValidationInfo
    ) -> tuple[ExpectationItem, ...]:
        nodes = info.data.get("nodes")
        if nodes is None:
            return value
        hosts = [*(node_host(rank) for rank in range(nodes)), API]
        faults: list[Misfit] = [
            ((index, item.key, *path), f"there is no {host} among {many(nodes, 'node')}")
            for index, item in enumerate(value)
            for path, host in item.said.hosts
            if host not in hosts
        ]
        sweep, workload = info.data.get("sweep"), info.data.get("workload")
        if sweep is not None and workload is not None:
            faults.extend(impossible(value, nodes, workload, sweep))
        if faults:
            raise misfit(faults)
        return value


def _clashes(keys: list[str], sweep: Sweep) -> list[Misfit]:
    """Find searched keys whose variable is another key's too."""
    owners: dict[str, str] = {}
    faults: list[Misfit] = []
    for key in keys:
        bare = split_key(key)[1]
        owner = owners.setdefault(variable_of(bare), bare)
        if owner != bare and bare in sweep.parameters:
            message = f"{owner} has the same variable, {variable_of(bare)}"
            faults.append((("parameters", bare), message))
    return faults
