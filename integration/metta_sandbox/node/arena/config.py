"""What a training run is told: one frozen model, filled from ``key=value`` overrides.

The command line checks overrides against it on hosts without torch or mettagrid, so this module
imports neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from metta_sandbox.errors import InputError
from metta_sandbox.node.arena.curriculum import CURRICULA, canonical_name


def _whole(value: Any) -> Any:
    """Let whole numbers be written as ``1e6`` or ``64.0``, as optimisers print them."""
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return value
        if number.is_integer() and any(mark in value for mark in ".eE"):
            return int(number)
    return value


Count = Annotated[int, BeforeValidator(_whole), Field(gt=0)]
Unit = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class OptimizerConfig(_Part):
    """Adam's settings (Kingma and Ba 2015, arXiv:1412.6980)."""

    learning_rate: Positive = 3e-3
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    eps: Positive = 1e-8


class PpoConfig(_Part):
    """Proximal policy optimisation's settings (Schulman et al. 2017, arXiv:1707.06347).

    ``vf_clip_coef`` bounds how far a value may move, and only counts with ``clip_vloss``.
    """

    clip_coef: Positive = 0.2
    gamma: Unit = 0.95
    gae_lambda: Unit = 0.9
    vf_coef: Weight = 0.5
    vf_clip_coef: Positive = 0.2
    clip_vloss: bool = False
    ent_coef: Weight = 0.01
    max_grad_norm: Positive = 0.5
    norm_adv: bool = True


class TrainerConfig(_Part):
    """How much is played and how often the policy is changed.

    Sizes are agent steps over all ranks: one agent acting once is one agent step.
    ``checkpoint_interval`` counts iterations, each of which plays and learns from one batch.
    """

    total_timesteps: Count = 100_000
    batch_size: Count = 4096
    minibatch_size: Count = 1024
    bptt_horizon: Count = 16
    update_epochs: Count = 3
    curriculum: str = next(iter(CURRICULA))
    checkpoint_interval: Count = 10
    resume: bool = True
    optimizer: OptimizerConfig = OptimizerConfig()
    ppo: PpoConfig = PpoConfig()

    @field_validator("curriculum")
    @classmethod
    def _known_curriculum(cls, value: str) -> str:
        name = canonical_name(value)
        if name not in CURRICULA:
            raise ValueError(
                f"no such curriculum{_nearest(name, tuple(CURRICULA))}; "
                f"there are {', '.join(CURRICULA)}"
            )
        return name


class ArenaConfig(_Part):
    """Everything a run of the bundled trainer is told.

    ``hardware`` names the node's profile. By the time the trainer starts, the node is already set
    up for it, so it changes nothing here.
    """

    run: Annotated[str, Field(min_length=1)] = "arena"
    seed: Annotated[int, BeforeValidator(_whole), Field(ge=0)] = 0
    hardware: Literal["macbook", "gpu"] = "macbook"
    trainer: TrainerConfig = TrainerConfig()


def known_keys() -> tuple[str, ...]:
    """List every key an override may name, dotted, in the order of the model."""
    return tuple(_leaves(ArenaConfig, ""))


def parse_overrides(overrides: Sequence[str]) -> ArenaConfig:
    """Read ``key=value`` overrides in Hydra's dotted style; of a key given twice the last counts.

    Args:
        overrides: Such as ``trainer.ppo.gamma=0.9`` or ``+hardware=macbook``.

    Raises:
        InputError: A key is unknown (the nearest known one is named) or a value does not suit.
            All that is wrong is said at once.

    """
    tree: dict[str, Any] = {}
    faults: list[str] = []
    keys = known_keys()
    for override in overrides:
        key, equals, value = override.partition("=")
        key = key.strip().lstrip("+")
        if not equals:
            faults.append(f"{override!r}: not an override; write key=value")
        elif key not in keys:
            faults.append(f"{key}: {_unknown(key, keys)}")
        else:
            *parents, leaf = key.split(".")
            branch = tree
            for parent in parents:
                branch = branch.setdefault(parent, {})
            branch[leaf] = _unquoted(value.strip())
    config = ArenaConfig()
    try:
        config = ArenaConfig.model_validate(tree)
    except ValidationError as error:
        faults.extend(_describe(fault) for fault in error.errors())
    if faults:
        raise InputError("\n".join(faults), "known keys: " + ", ".join(keys))
    return config


def flatten(config: ArenaConfig) -> dict[str, Any]:
    """Write a configuration as dotted keys and plain values."""
    return dict(_flat(config.model_dump(), ""))


def _leaves(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _leaves(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def _flat(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _describe(fault: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    return f"{key}: {fault['msg'].removeprefix('Value error, ')} (got {fault['input']!r})"


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value


def _unknown(key: str, known: Sequence[str]) -> str:
    group = [name for name in known if name.startswith(f"{key}.")]
    if group:
        return f"a group of keys, not a key; it has {', '.join(group)}"
    return f"unknown key{_nearest(key, known)}"


def _nearest(name: str, known: Sequence[str]) -> str:
    """Say which known name was probably meant: the most alike, or one that ends the same."""
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    if not near:
        near = [key for key in known if name and key.rpartition(".")[2] == name.rpartition(".")[2]]
    return f"; did you mean {near[0]}?" if near else ""
