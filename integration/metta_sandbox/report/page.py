"""``report.html``: a run in one file that needs nothing else, for people."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from metta_sandbox.report import environment
from metta_sandbox.report.artifacts import scenario_folders
from metta_sandbox.report.results import RunResult, ScenarioResult
from metta_sandbox.report.story import PageLimits, tell
from metta_sandbox.report.waits import picture
from metta_sandbox.report.wording import amount, figure, headline, seconds, without
from metta_sandbox.safe_text import for_html
from metta_sandbox.words import many

FILE_NAME = "report.html"
_TEMPLATES = Path(__file__).with_name("templates")
_CHARTS = Path(__file__).with_name("vendor") / "echarts.min.js"


def render(run: RunResult, folder: Path, limits: PageLimits | None = None) -> str:
    """Write the page of a run from its results and what lies in its folder.

    Args:
        run: What it came to.
        folder: ``artifacts/<run>/``.
        limits: How much of the evidence goes into the page.

    """
    share = (limits or PageLimits()).shared_by(len(run.scenarios))
    folders = scenario_folders(folder, [one.name for one in run.scenarios])
    pairs = list(zip(run.scenarios, folders, strict=True))
    scripts = [_charts(), _source("report.js")]
    template = _templates().get_template("report.html.j2")
    return template.render(
        run=run,
        headline=headline(run),
        folder=folder.name,
        scenarios=[_scenario(one, there) for one, there in pairs],
        data=[htmlsafe_json_dumps(_shown(_data(one, there, share))) for one, there in pairs],
        environment=_environment(folder),
        style=_source("report.css"),
        scripts=scripts,
        policy=_policy(scripts),
    )


def _charts() -> str:
    """Return the charting library; nothing if it was not to be had when we were installed."""
    return _CHARTS.read_text(encoding="utf-8") if _CHARTS.exists() else ""


def _templates() -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"seconds": seconds, "figure": figure, "many": many, "waits": picture}
    templates.filters["without"] = without
    return templates


def _shown(value: Any) -> Any:
    """Make text safe for the page, in lists and mappings, too; our own markup stays as it is."""
    if isinstance(value, str):
        return value if isinstance(value, Markup) else for_html(value)
    if isinstance(value, Mapping):
        return {for_html(str(key)): _shown(inner) for key, inner in value.items()}
    return [_shown(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _policy(scripts: Sequence[str]) -> str:
    """Write a Content-Security-Policy under which these scripts run, no others, and nothing loads.

    Log text of anybody's is in the page: should any of it ever be taken for markup, it stays dead.
    """
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(each).decode()}'" for each in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:"


def _source(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _scenario(result: ScenarioResult, folder: Path) -> dict[str, Any]:
    completed = [trial for trial in result.trials if trial.status == "completed"]
    bad = [check for check in result.checks if not check.verdict.is_well]
    return {
        "result": result,
        "folder": folder.name,
        "completed": len(completed),
        "bad": bad,
        "good": [check for check in result.checks if check.verdict.is_well],
    }


def _data(result: ScenarioResult, folder: Path, limits: PageLimits) -> dict[str, Any]:
    story = tell(folder, limits)
    suggestions: Mapping[str, Any] = story.pop("suggestions")
    trials = [
        {
            "run": trial.run,
            "status": trial.status,
            "score": _finite(trial.score),
            "cost": _finite(trial.cost),
            "values": suggestions.get(trial.run, {}),
        }
        for trial in result.trials
    ]
    return {**story, "trials": trials, **_objective(folder)}


def _finite(value: float | None) -> float | None:
    """Leave out what JSON has no way to write."""
    return value if value is not None and math.isfinite(value) else None


def _objective(folder: Path) -> dict[str, str]:
    """Say what the sweep was after. A run that could not start may have left no scenario."""
    try:
        played = YAML(typ="safe", pure=True).load((folder / "scenario.yaml").read_bytes())
        return {"metric": str(played["sweep"]["metric"]), "goal": str(played["sweep"]["goal"])}
    except (OSError, YAMLError, KeyError, TypeError):
        return {"metric": "score", "goal": "maximize"}


def _environment(folder: Path) -> list[tuple[str, str]]:
    try:
        told = json.loads((folder / environment.FILE_NAME).read_bytes())
    except (OSError, ValueError):
        return []
    if not isinstance(told, dict):
        return []
    memory = told.pop("memory_bytes", None)
    if memory:
        told["memory"] = amount(memory)
    return [(name.replace("_", " "), _said(value)) for name, value in told.items() if value]


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key} {_said(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return shlex.join(map(str, value))
    return "yes" if value is True else str(value)
