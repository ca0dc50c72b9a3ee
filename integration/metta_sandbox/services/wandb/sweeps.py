"""Sweeps and their agents, as queries see them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import yaml

from metta_sandbox.services.wandb.context import Context, Node, page
from metta_sandbox.services.wandb.database import Database, Row
from metta_sandbox.services.wandb.filters import matches, ordered, read_filters
from metta_sandbox.services.wandb.ids import when
from metta_sandbox.services.wandb.runs import Run, document
from metta_sandbox.services.wandb.streams import loaded


def read_config(text: str) -> dict[str, Any]:
    """Read a sweep's configuration from YAML; what is no mapping is empty."""
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def runs_of(db: Database, column: str, number: int) -> list[Row]:
    """List the runs of a sweep or an agent, the first one first."""
    return db.rows(
        f"SELECT * FROM runs WHERE {column} = ? AND NOT deleted ORDER BY id",  # noqa: S608 - ours
        number,
    )


class Sweep(Node):
    """A sweep."""

    kind = "Sweep"

    def __init__(self, context: Context, row: Row) -> None:
        super().__init__(context, row)
        self.settings = read_config(row["config"])
        self.method = str(self.settings.get("method", ""))
        self.early_stop_job_running = False
        self.controller_run_name = None
        self.created_at = when(row["created_at"])
        self.updated_at = when(row["updated_at"])
        self.heartbeat_at = when(row["heartbeat_at"])

    def project(self) -> Any:
        """Find its project."""
        from metta_sandbox.services.wandb.projects import Project  # noqa: PLC0415 - a circle

        row = self.db.row("SELECT * FROM projects WHERE id = ?", self.row["project"])
        assert row is not None
        return Project(self.context, row)

    def user(self) -> dict[str, Any]:
        """Say who made it."""
        return {"id": "", "name": self.row["user"], "username": self.row["user"]}

    def run_count(self) -> int:
        """Count its runs."""
        return len(runs_of(self.db, "sweep", self.row["id"]))

    def run_count_expected(self) -> int | None:
        """Count the runs there will be; None if nothing ends it."""
        return expected_runs(self.settings)

    def best_loss(self) -> float | None:
        """Give the best value of its metric among its runs' summaries."""
        metric = self.settings.get("metric")
        if not isinstance(metric, dict) or not metric.get("name"):
            return None
        name = str(metric["name"])
        summaries = [loaded(row["summary"]) for row in runs_of(self.db, "sweep", self.row["id"])]
        values = [
            float(summary[name])
            for summary in summaries
            if isinstance(summary.get(name), (int, float)) and math.isfinite(summary[name])
        ]
        best = max if metric.get("goal") == "maximize" else min
        return best(values, default=None)

    def runs(
        self,
        first: int | None = None,
        after: str | None = None,
        filters: str | None = None,
        order: str | None = None,
    ) -> dict[str, Any]:
        """List its runs."""
        wanted = read_filters(filters)
        found = map(document, runs_of(self.db, "sweep", self.row["id"]))
        chosen = ordered([each for each in found if matches(each, wanted)], order)
        return page(chosen, first, after, lambda each: Run(self.context, each["row"]))

    def agent(self, agent_name: str) -> Agent | None:
        """Find one of its agents by its name or its id."""
        agents = [edge["node"] for edge in self.agents()["edges"]]
        return next((each for each in agents if agent_name in {each.id, each.name}), None)

    def agents(self, first: int | None = None, after: str | None = None) -> dict[str, Any]:
        """List its agents."""
        rows = self.db.rows("SELECT * FROM agents WHERE sweep = ? ORDER BY id", self.row["id"])
        return page(rows, first, after, lambda row: Agent(self.context, row))


class Agent(Node):
    """An agent: what runs a sweep's runs on one node."""

    kind = "Agent"

    def __init__(self, context: Context, row: Row) -> None:
        super().__init__(context, row)
        self.name = f"agent-{row['id']}"
        self.created_at = when(row["created_at"])
        self.heartbeat_at = when(row["heartbeat_at"])

    def total_runs(self) -> int:
        """Count its runs."""
        return len(runs_of(self.db, "agent", self.row["id"]))

    def runs(self, first: int | None = None, after: str | None = None, **_: Any) -> dict[str, Any]:
        """List its runs."""
        rows = runs_of(self.db, "agent", self.row["id"])
        return page(rows, first, after, lambda row: Run(self.context, row))


def expected_runs(settings: Mapping[str, Any]) -> int | None:
    """Count the runs that a configuration asks for; None if nothing ends them."""
    cap = settings.get("run_cap")
    bounds = [cap] if isinstance(cap, int) else []
    parameters = settings.get("parameters")
    if settings.get("method") == "grid" and isinstance(parameters, dict):
        counts = [_choices(each) for each in parameters.values()]
        if None not in counts:
            bounds.append(math.prod(count for count in counts if count))
    return min(bounds, default=None)


def _choices(parameter: Any) -> int | None:
    """Count the values of a grid's parameter; None if that is not said in numbers."""
    if not isinstance(parameter, dict):
        return None
    if isinstance(values := parameter.get("values"), list):
        return len(values)
    if "value" in parameter:
        return 1
    if isinstance(inner := parameter.get("parameters"), dict):
        counts = [_choices(each) for each in inner.values()]
        return None if None in counts else math.prod(count for count in counts if count)
    return None
