"""The search a sweep makes: its parameters, its strategy, when it ends."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationInfo, field_validator
from typing_extensions import TypeAliasType

from metta_sandbox.scenario.base import Misfit, Part, misfit
from metta_sandbox.scenario.overrides import is_key, nearest
from metta_sandbox.scenario.units import Amount
from metta_sandbox.scenario.values import Value

Distribution = Literal["uniform", "int_uniform", "uniform_pow2", "log_normal", "logit_normal"]
#: Distributions along a logarithm, the only ones that know the scale ``time``.
LOGARITHMIC = frozenset({"uniform_pow2", "log_normal", "logit_normal"})
#: Distributions whose values are whole numbers.
WHOLE = frozenset({"int_uniform", "uniform_pow2"})


class Range(Part):
    """A parameter searched between two bounds. See ``metta_sandbox.sweep.space`` for the maths."""

    distribution: Distribution = Field(
        description="How the range is searched: evenly (uniform, int_uniform), over powers of two "
        "(uniform_pow2), over the logarithm (log_normal), or over the logarithm of the distance "
        "from 1 (logit_normal)."
    )
    min: float = Field(description="The smallest value, itself included.")
    max: float = Field(description="The largest value, itself included.")
    mean: float | None = Field(
        default=None,
        description="The search centre, suggested first. Default: the middle of the range as the "
        "distribution sees it.",
    )
    scale: Annotated[float, Field(gt=0)] | Literal["auto", "time"] = Field(
        default="auto",
        description="The search radius around a good point, in halves of the range: 1 reaches from "
        "the middle to both ends. `auto` is 0.5; `time` (logarithmic distributions) is half a "
        "doubling of the value.",
    )

    @field_validator("min", "max", "mean")
    @classmethod
    def _is_within_domain(cls, value: float | None, info: ValidationInfo) -> float | None:
        distribution = info.data.get("distribution")
        if value is None or distribution is None:
            return value
        if distribution == "log_normal" and value <= 0:
            raise ValueError("expected a number above 0, as log_normal searches its logarithm")
        if distribution == "logit_normal" and not 0 <= value < 1:
            raise ValueError("expected a number from 0 up to, but not, 1, as for logit_normal")
        if distribution == "int_uniform" and not value.is_integer() and info.field_name != "mean":
            raise ValueError("expected a whole number, as for int_uniform")
        if distribution == "uniform_pow2" and (value < 1 or math.frexp(value)[0] != 0.5):  # noqa: PLR2004
            raise ValueError("expected a power of two, as for uniform_pow2")
        return value

    @field_validator("max")
    @classmethod
    def _is_above_min(cls, value: float, info: ValidationInfo) -> float:
        low = info.data.get("min")
        # Closer than this, rounding could make the two ends one.
        if low is not None and value - low <= 1e-12 * max(abs(low), abs(value)):
            raise ValueError(f"expected more than min, which is {low:g}")
        return value

    @field_validator("mean")
    @classmethod
    def _is_between(cls, value: float | None, info: ValidationInfo) -> float | None:
        low, high = info.data.get("min"), info.data.get("max")
        if value is not None and low is not None and high is not None and not low <= value <= high:
            raise ValueError(f"expected a number from min to max, {low:g} to {high:g}")
        return value

    @field_validator("scale", mode="before")
    @classmethod
    def _is_scale(cls, value: Any) -> Any:
        named = isinstance(value, str) and value in {"auto", "time"}
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not named and not (number and value > 0):
            raise ValueError("expected a number above 0, auto or time")
        return value

    @field_validator("scale")
    @classmethod
    def _suits_distribution(cls, value: float | str, info: ValidationInfo) -> float | str:
        distribution = info.data.get("distribution")
        if value == "time" and distribution is not None and distribution not in LOGARITHMIC:
            raise ValueError(f"expected a number or auto: {distribution} is not logarithmic")
        return value


class Choice(Part):
    """A parameter that takes one of the values given, in the order given."""

    values: Annotated[tuple[Value, ...], Field(strict=False, min_length=1)] = Field(
        description="The values to choose from; numbers go from small to large."
    )


#: What ``resume`` says for the newest run of the same scenario.
LATEST = "latest"
#: Keys of a parameter.
LEAF = frozenset({"distribution", "min", "max", "mean", "scale", "values"})


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "choice" if "values" in value and "distribution" not in value else "range"
    return "choice" if isinstance(value, Choice) else "range"


Parameter = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choice, Tag("choice")], Discriminator(_kind)
]


def _is_leaf(value: object) -> bool:
    if not isinstance(value, Mapping):
        return True
    return not value or any(
        key in LEAF and not isinstance(inner, Mapping) for key, inner in value.items()
    )


def flatten_parameters(nested: Any) -> Any:
    """Write nested parameters as one dotted key each; Pydantic refuses what is no mapping."""
    if not isinstance(nested, Mapping):
        return nested
    flat: dict[str, Any] = {}
    faults: list[Misfit] = []

    def visit(inner: Mapping[Any, Any], prefix: str, path: tuple[str, ...]) -> None:
        for key, value in inner.items():
            dotted, here = f"{prefix}{key}", (*path, str(key))
            if not _is_leaf(value):
                visit(value, f"{dotted}.", here)
                continue
            if not is_key(dotted):
                faults.append((here, f"expected a key such as trainer.batch_size, not {dotted!r}"))
            if dotted in flat:
                faults.append((here, f"{dotted} is given twice"))
            flat[dotted] = value

    visit(nested, "", ())
    if faults:
        raise misfit(faults)
    return flat


ParameterTree = TypeAliasType("ParameterTree", "dict[str, Range | Choice | ParameterTree]")
Parameters = Annotated[
    dict[str, Parameter], BeforeValidator(flatten_parameters, json_schema_input_type=ParameterTree)
]


#: The strategies that have a name, each with its options and what each may be; None for anything.
STRATEGIES: Mapping[str, Mapping[str, tuple[str, ...] | None]] = {
    "protein": {},
    "random": {},
    "grid": {},
    "optuna": {
        "sampler": (
            *("TPESampler", "RandomSampler", "CmaEsSampler", "GPSampler", "NSGAIISampler"),
        ),
        "pruner": (
            *("NopPruner", "MedianPruner", "PercentilePruner", "SuccessiveHalvingPruner"),
            *("HyperbandPruner", "ThresholdPruner"),
        ),
    },
    "wandb": {"method": ("bayes", "random", "grid"), "early_terminate": None},
}
_CLASS = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"


def _strategy(given: Any) -> Any:
    if not isinstance(given, str) or given in STRATEGIES or re.match(_CLASS, given):
        return given
    near = nearest(given, STRATEGIES)
    raise ValueError(
        f"expected {', '.join(STRATEGIES)}, or module:Class"
        + (f"; did you mean {near}?" if near else "")
    )


StrategyName = Annotated[
    str,
    BeforeValidator(
        _strategy,
        json_schema_input_type=Literal["protein", "random", "grid", "optuna", "wandb"]
        | Annotated[str, Field(pattern=_CLASS)],
    ),
]


def _misfits_of(strategy: str, options: Mapping[str, Any]) -> Iterator[Misfit]:
    """Name the options that a strategy does not take."""
    known = STRATEGIES.get(strategy, {})
    for key, value in options.items():
        if key not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            yield (key,), f"strategy {strategy} has no option {key}; {takes}"
        elif (names := known[key]) is not None:
            named = value
            if isinstance(value, Mapping) and len(value) == 1 and strategy == "optuna":
                named = next(iter(value))
            if named not in names:
                near = nearest(str(named), names)
                hint = f"; did you mean {near}?" if near else ""
                yield (key,), f"expected one of {', '.join(names)}{hint}"


class Sweep(Part):
    """A search over a trainer's parameters."""

    name: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=128,
        description="What the control plane knows the sweep as. Default: the scenario's name.",
    )
    strategy: StrategyName = Field(
        default="protein",
        description="Who suggests: cost-aware Bayesian optimisation (protein), chance (random), "
        "every combination of the values in the order of the file (grid), Optuna (optuna), W&B's "
        "own engine (wandb), or a class of yours in the workload's folder (module:Class).",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="What the strategy takes. optuna: `sampler` and `pruner`, by name, or "
        "{name: {argument: value}}; wandb: `method` (bayes, random, grid) and `early_terminate`; "
        "a class of yours: whatever it takes.",
    )
    trials: int = Field(default=2, ge=1, le=10_000, description="Trials to run.")
    max_failures_in_a_row: int = Field(
        default=3,
        ge=1,
        description="The sweep ends when this many trials failed one after another.",
    )
    retries: int = Field(
        default=0,
        ge=0,
        le=100,
        description="How often a trial that failed is tried again, as a new run with the same "
        "suggestion. Such a run counts as failed, and costs, but is no trial of its own.",
    )
    resume: str | None = Field(
        default=None,
        min_length=1,
        description="A sweep that goes on here: its folder, artifacts/<run>/<scenario>, or latest. "
        "Its trials and their cost count; run names go on where they were.",
    )
    metric: str = Field(default="reward", min_length=1, description="The score, by its W&B name.")
    goal: Literal["maximize", "minimize"] = Field(
        default="maximize", description="Whether a higher or a lower score is better."
    )
    cost: Literal["agent_steps", "seconds"] = Field(
        default="agent_steps",
        description="What a trial costs. With `seconds` the same seed no longer gives the same "
        "suggestions.",
    )
    max_cost: Amount | None = Field(
        default=None,
        gt=0,
        description="protein suggests nothing it expects to cost more. Default: no limit.",
    )
    budget: Amount | None = Field(
        default=None,
        gt=0,
        description="The sweep ends once its trials have cost this much together, those of a run "
        "it resumes included. Default: no limit.",
    )
    parameters: Parameters = Field(
        default_factory=dict,
        description="What is searched, by override key, nested or dotted: a distribution with min "
        "and max, or values.",
    )

    @field_validator("options")
    @classmethod
    def _are_the_strategys(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        strategy = info.data.get("strategy", "")
        if ":" in strategy:
            return value
        faults = list(_misfits_of(strategy, value))
        if faults:
            raise misfit(faults)
        return value

    @field_validator("parameters")
    @classmethod
    def _suit_strategy(
        cls, value: dict[str, Range | Choice], info: ValidationInfo
    ) -> dict[str, Range | Choice]:
        method = info.data.get("options", {}).get("method")
        if info.data.get("strategy") == "grid" or method == "grid":
            faults: list[Misfit] = [
                ((key,), f"expected values: [...], as a grid can't enumerate {key}'s range")
                for key, parameter in value.items()
                if isinstance(parameter, Range)
            ]
            if faults:
                raise misfit(faults)
        return value

    @property
    def runs(self) -> int:
        """How many runs there are at most, those that are tried again included."""
        return self.trials * (1 + self.retries)

    @property
    def why_so_many(self) -> str:
        """Why there are so many runs at most, in words."""
        retries = f", and sweep.retries {self.retries}" if self.retries else ""
        return f"sweep.trials is {self.trials}{retries}"
