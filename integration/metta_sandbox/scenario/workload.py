"""What runs on the nodes: a trainer under our rollout, or a command of the user's own."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_serializer,
    field_validator,
    model_validator,
)
from typing_extensions import Self

from metta_sandbox.scenario.base import Misfit, Part, misfit
from metta_sandbox.scenario.names import TRAINER_KEYS, suggest_key
from metta_sandbox.scenario.overrides import Override, flatten, nearest, split_key
from metta_sandbox.scenario.overrides import format as format_override
from metta_sandbox.scenario.provision import (
    BuildOrFolder,
    Environment,
    Mount,
    NodeLimits,
    Requirements,
    doubled_targets,
)
from metta_sandbox.scenario.search import WHOLE, Choice, Parameter
from metta_sandbox.scenario.units import Pattern, Size
from metta_sandbox.scenario.values import Value, spelt
from metta_sandbox.skypilot.played import FileOrMore, SkyPilot

#: Words of a trainer's command in whose place the path of a file with the overrides is put.
OVERRIDES_FILE = "{overrides_file}"
OVERRIDES_YAML = "{overrides_yaml}"


def _flatten(given: Any) -> Any:
    if isinstance(given, Mapping):
        return flatten(given)
    if isinstance(given, list) and all(isinstance(item, str) for item in given):
        return flatten(given)
    raise ValueError("expected a mapping of override keys, or a list of key=value")


def _is_filled(value: Value) -> bool:
    return isinstance(value, Mapping) and bool(value)


def _take_any_float(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    # Hydra has nan and inf, and so may a trainer's overrides.
    return value if isinstance(value, float) else handler(value)


Overrides = Annotated[
    dict[str, Annotated[Value, WrapValidator(_take_any_float)]],
    BeforeValidator(_flatten, json_schema_input_type=dict[str, Value] | list[str]),
]


def _split(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    try:
        return shlex.split(given)
    except ValueError as error:
        raise ValueError(f"expected words as a shell reads them ({error})") from None


Command = Annotated[
    tuple[str, ...],
    Field(strict=False),
    BeforeValidator(_split, json_schema_input_type=str | list[str]),
]


ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]


class ScoreSource(Part):
    """Where a trial's score is found."""

    source: Literal["evaluate", "event", "wandb_summary", "json", "log", "none"] = Field(
        description="By the bundled evaluation of checkpoint.pt, the last event that carries it, "
        "the summary of the trainer's own W&B run, a file of JSON, or its log; `none` scores "
        "every trial that exits with 0 alike."
    )
    key: str | None = Field(
        default=None,
        min_length=1,
        description="The number's name there, dotted for what is nested. Default: the metric.",
    )
    path: str | None = Field(
        default=None,
        min_length=1,
        description="The file of JSON, from the trainer's working folder or the trial's.",
    )
    pattern: Pattern | None = Field(
        default=None,
        description="Matched against the lines of rank 0's log; the last match's first group is "
        "the score.",
    )

    rank: int | None = Field(
        default=None,
        ge=0,
        description="Whose W&B run counts, where several ranks track one; with launcher own, the "
        "node's number. Without it, those that tell the number must tell the same.",
    )

    @field_validator("pattern")
    @classmethod
    def _has_a_group(cls, value: str | None) -> str | None:
        if value is not None and not re.compile(value).groups:
            raise ValueError("expected a pattern with a group, as in 'score=([0-9.]+)'")
        return value

    @model_validator(mode="after")
    def _say_what_the_source_needs(self) -> Self:
        if (self.source == "json") != (self.path is not None):
            raise ValueError("expected path with source json, and with no other")
        if (self.source == "log") != (self.pattern is not None):
            raise ValueError("expected pattern with source log, and with no other")
        if self.key is not None and self.source not in {"event", "wandb_summary", "json"}:
            raise ValueError(f"expected no key with source {self.source}")
        if self.rank is not None and self.source != "wandb_summary":
            raise ValueError("expected rank with source wandb_summary only")
        return self


class Trainer(Part):
    """The trainer of every trial, and how it is set."""

    command: Command = Field(
        default=(),
        description="What each rank runs: words, or a text that is split as a shell would. "
        "Variables of the node ($NAME) are filled in. Default: the bundled arena trainer.",
    )
    launcher: Literal["warm", "torchrun", "plain", "own"] = Field(
        default="warm",
        description="Who starts the ranks of a node: a process that has imported torch already "
        "and forks them, as torchrun would start them (warm; torchrun itself where that can't be "
        "had, and a line says why); torchrun; nobody (plain: one process each, with RANK, "
        "LOCAL_RANK, WORLD_SIZE, NODE_RANK, MASTER_ADDR, MASTER_PORT set); or the command itself, "
        "which is started once on each node, with NUM_NODES and NODE_RANK and no rank's own (own).",
    )
    preload: Annotated[tuple[ModuleName, ...], Field(strict=False)] = Field(
        default=(),
        description="Modules that a warm launcher imports beforehand, beside torch's.",
    )
    ranks_per_node: int = Field(default=1, ge=1, le=16, description="How many ranks on each node.")
    world_size: Annotated[int, Field(ge=1)] | Literal["any"] | None = Field(
        default=None,
        description="How many ranks the process groups of torch.distributed must have. Default: "
        "all, as nodes and ranks_per_node say, and a trial whose ranks never formed one completes "
        "with a warning; with a number it must form one; `any` asks for nothing.",
    )
    overrides_style: Literal["hydra", "flags", "env", "file"] = Field(
        default="hydra",
        description="How a trainer of yours gets the overrides: key=value, --key value, variables "
        "(trainer.lr as TRAINER_LR), or a file ({overrides_file} in the command).",
    )
    overrides: Overrides = Field(
        default_factory=dict,
        description="Settings all trials share, Hydra-style: nested, dotted, or a list of "
        "key=value. What the sweep suggests goes over them.",
    )
    score: ScoreSource | None = Field(
        default=None,
        description="Where a trial's score is found. Default: the bundled evaluation for the "
        "bundled trainer; for any other the last event that carries the metric, or else the "
        "bundled evaluation of the checkpoint.pt it left.",
    )

    @field_serializer("overrides")
    def _written(self, value: dict[str, Value]) -> dict[str, Value] | list[str]:
        # In a mapping, one that is a value would be read back as nested keys, and nan as null.
        if spelt(value) == value and not any(map(_is_filled, value.values())):
            return value
        parted = ((split_key(key), item) for key, item in value.items())
        return [format_override(Override(op, key, item)) for (op, key), item in parted]

    @property
    def bundled(self) -> bool:
        """Whether it is our own arena trainer."""
        return not self.command

    @model_validator(mode="before")
    @classmethod
    def _take_a_misspelt_command_for_one(cls, data: Any) -> Any:
        # Else all that is said of a trainer of one's own would be judged as the bundled one's.
        key = command_key(data)
        return data if key in {None, "command"} else {**data, "command": data[key]}

    @field_validator("launcher")
    @classmethod
    def _has_a_command(cls, value: str, info: ValidationInfo) -> str:
        if value == "own" and "command" in info.data and not info.data["command"]:
            raise ValueError("own needs a command that starts the ranks")
        return value

    @field_validator("preload")
    @classmethod
    def _is_for_warm(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if value and info.data.get("launcher") not in {None, "warm"}:
            raise ValueError("only launcher: warm imports anything beforehand")
        return value

    @field_validator("overrides_style")
    @classmethod
    def _suits_command(cls, value: str, info: ValidationInfo) -> str:
        command = info.data.get("command")
        if command is None or value == "hydra":
            return value
        if not command:
            raise ValueError("the bundled trainer takes hydra")
        named = any(OVERRIDES_FILE in word or OVERRIDES_YAML in word for word in command)
        if value == "file" and not named:
            raise ValueError(f"file needs {OVERRIDES_FILE} or {OVERRIDES_YAML} in the command")
        return value

    @field_validator("overrides")
    @classmethod
    def _are_known(cls, value: dict[str, Value], info: ValidationInfo) -> dict[str, Value]:
        if info.data.get("command"):
            return value
        faults: list[Misfit] = []
        for key, setting in value.items():
            op, bare = split_key(key)
            if message := suggest_key(bare):
                faults.append(((key,), message))
            elif op != "~" and not _is_a(setting, TRAINER_KEYS[bare]):
                faults.append(((key,), f"expected {_KIND_NAMES[TRAINER_KEYS[bare]]}"))
        if faults:
            raise misfit(faults)
        return value


def command_key(trainer: Any) -> str | None:
    """Find the key under which a trainer's mapping gives its command, even if it is misspelt."""
    if not isinstance(trainer, Mapping):
        return None
    keys = [key for key in trainer if isinstance(key, str)]
    if "command" in keys:
        return "command"
    unknown = (key for key in keys if key not in Trainer.model_fields)
    return next((key for key in unknown if nearest(key, Trainer.model_fields) == "command"), None)


class Workload(Part):
    """What runs on the nodes: the bundled rollout with a trainer, or a command of one's own."""

    folder: str | None = Field(
        default=None,
        min_length=1,
        description="A folder beside the scenario file whose copy is the working folder.",
    )
    working_folder: Literal["shared", "private"] = Field(
        default="shared",
        description="Whether all nodes work in one folder, as in a mounted bucket, or each in its "
        "own.",
    )
    fresh: Literal["trial", "sweep"] = Field(
        default="trial",
        description="Whether each trial starts in the working folder as setup left it, which its "
        "retries share, or all work on in one. With run: sweep.",
    )
    env: Environment = Field(
        default_factory=dict, description="Variables of everything that runs on the nodes."
    )
    requirements: Requirements | None = Field(
        default=None,
        description="What your trainer or command imports beyond torch, numpy and wandb: the path "
        "of a requirements file, beside the scenario file, or a list of requirements.",
    )
    image: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$",
        description="Your own image for the nodes, with Python 3.9 or later.",
    )
    build: BuildOrFolder | None = Field(
        default=None,
        description="Your own image for the nodes, built before they start: a folder with a "
        "Dockerfile, beside the scenario file.",
    )
    mounts: Annotated[tuple[Mount, ...], Field(strict=False)] = Field(
        default=(), description="Files and folders of this machine that every node sees."
    )
    shared_memory: Size = Field(
        default=2 * 2**30,
        ge=2**20,
        description="The size of a container's /dev/shm, through which data-loader workers talk.",
    )
    limits: NodeLimits = Field(
        default_factory=NodeLimits,
        description="What one node may take of the machine, so that it alone ends of it.",
    )
    network: Literal["sealed", "open"] = Field(
        default="sealed",
        description="Whether containers reach each other and the control plane alone, or whatever "
        "this machine can (open). Packages can be had either way.",
    )
    setup: str = Field(
        default="",
        description="Shell commands that every node runs before the sweep starts, as in a SkyPilot "
        "task: without the variables that SkyPilot gives to `run` alone.",
    )
    run: str | None = Field(
        default=None,
        min_length=1,
        description="Shell commands that every node runs at the same moment in place of the "
        "bundled rollout, as in a SkyPilot task.",
    )
    task: FileOrMore | None = Field(
        default=None,
        description="A SkyPilot task that is played as it is, in place of setup and run; nodes is "
        "its num_nodes, if the scenario does not say, and env goes over its envs.",
    )
    skypilot: SkyPilot | None = Field(
        default=None, description="What the task says, in scenarios as played."
    )
    trainer: Trainer = Field(
        default_factory=Trainer, description="The trainer of every trial of the bundled rollout."
    )

    @model_validator(mode="before")
    @classmethod
    def _run_is_one(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and data.get("run") is not None and "fresh" not in data:
            return {**data, "fresh": "sweep"}
        return data

    @field_validator("env")
    @classmethod
    def _are_names(cls, value: dict[str, str]) -> dict[str, str]:
        faults: list[Misfit] = [
            ((name,), "expected a variable's name: letters, digits and _")
            for name in value
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)
        ]
        if faults:
            raise misfit(faults)
        return value

    @field_validator("build")
    @classmethod
    def _is_the_only_image(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("image") is not None:
            raise ValueError("expected either image or build")
        return value

    @field_validator("mounts")
    @classmethod
    def _are_in_places_of_their_own(cls, value: tuple[Mount, ...]) -> tuple[Mount, ...]:
        if faults := doubled_targets(value):
            raise misfit(faults)
        return value

    @model_validator(mode="after")
    def _need_whom_they_are_for(self) -> Self:
        if self.requirements is None:
            return self
        if self.own_image:
            message = "an image of yours brings its own packages: install them in its Dockerfile"
        elif self.run is None and self.trainer.bundled:
            message = "the bundled trainer needs none; expected a trainer.command, or run"
        else:
            return self
        raise misfit([(("requirements",), message)])

    @property
    def own_image(self) -> bool:
        """Whether nodes are made of an image of the user's."""
        return self.image is not None or self.build is not None

    @field_validator("run")
    @classmethod
    def _has_no_trials(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("fresh") == "trial":
            raise ValueError("a command of your own has no trials that fresh: trial could be for")
        return value

    @property
    def fresh_trials(self) -> bool:
        """Whether trials of a trainer that may leave something are kept apart."""
        return self.run is None and not self.trainer.bundled and self.fresh == "trial"

    @field_validator("trainer")
    @classmethod
    def _is_one_kind(cls, value: Trainer, info: ValidationInfo) -> Trainer:
        if info.data.get("run") is not None and value != Trainer():
            raise ValueError("expected either run, your own command, or trainer, under our rollout")
        return value


def variable_of(key: str) -> str:
    """Name the environment variable of an override key: ``trainer.lr`` is ``TRAINER_LR``."""
    return re.sub(r"\W", "_", key).upper()


def misfit_of(key: str, parameter: Parameter) -> str | None:
    """Say why the bundled trainer can't take what is searched, or None if it can."""
    if message := suggest_key(key):
        return message
    kind = TRAINER_KEYS[key]
    if isinstance(parameter, Choice):
        fits = all(_is_a(value, kind) for value in parameter.values)
    else:
        fits = kind is float or (kind is int and parameter.distribution in WHOLE)
    return None if fits else f"expected {_KIND_NAMES[kind]} from every suggestion"


_Kind: TypeAlias = type[bool | int | float | str]
_KIND_NAMES: Mapping[_Kind, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
}


def _is_a(value: Value, kind: _Kind) -> bool:
    if isinstance(value, bool):
        return kind is bool
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return isinstance(value, (int, float) if kind is float else kind)
