"""``junit.xml``: a run for CI systems. A suite for each scenario, a case for each check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from xml.etree import ElementTree as ET

from metta_sandbox.report.results import CheckResult, RunResult, ScenarioResult
from metta_sandbox.report.wording import explain
from metta_sandbox.safe_text import for_xml
from metta_sandbox.verdict import Verdict

FILE_NAME = "junit.xml"
_OUTCOMES = {
    Verdict.FAILED: "failure",
    Verdict.INCONCLUSIVE: "error",
    Verdict.ERROR: "error",
    Verdict.SKIPPED: "skipped",
}


def render(run: RunResult) -> bytes:
    """Write a run as JUnit XML.

    A check that did not hold is a failure; one that could not tell, an error. What kept a scenario,
    or a run, from its end has a case of its own.
    """
    began = _began(run.run)
    suites = [_suite(one.name, list(_checks(one)), one.seconds, began) for one in run.scenarios]
    for suite, scenario in zip(suites, run.scenarios, strict=True):
        suite.insert(0, _properties(scenario))
    if run.reason or not run.scenarios:
        detail = run.reason or "nothing was played"
        whole = CheckResult(name="run", verdict=run.verdict, detail=detail)
        suites.append(_suite("run", [whole], 0, began))
    totals = {
        key: str(sum(int(suite.get(key, 0)) for suite in suites))
        for key in ("tests", "failures", "errors", "skipped")
    }
    root = _element("testsuites", {"name": f"metta-sandbox {run.run}", **totals}, run.seconds)
    root.extend(suites)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _checks(scenario: ScenarioResult) -> Iterator[CheckResult]:
    yield from scenario.checks
    if scenario.verdict not in {check.verdict for check in scenario.checks}:
        # Something else than a check decided: a node was lost, the stack did not start.
        told = [*(cause.told for cause in scenario.causes), scenario.reason]
        detail = "\n".join(text for text in told if text)
        yield CheckResult(name="scenario", verdict=scenario.verdict, detail=detail)


def _suite(name: str, checks: list[CheckResult], seconds: float, began: str) -> ET.Element:
    outcomes = [_OUTCOMES.get(check.verdict) for check in checks]
    about = {
        "name": name,
        "tests": str(len(checks)),
        "failures": str(outcomes.count("failure")),
        "errors": str(outcomes.count("error")),
        "skipped": str(outcomes.count("skipped")),
        **({"timestamp": began} if began else {}),
    }
    suite = _element("testsuite", about, seconds)
    for check, outcome in zip(checks, outcomes, strict=True):
        about = {"name": check.name, "classname": f"metta-sandbox.{name}"}
        case = _element("testcase", about, check.seconds)
        if outcome:
            message = check.detail.partition("\n")[0] or check.verdict.value
            told = ET.SubElement(case, outcome, {"message": for_xml(message)})
            told.text = for_xml(explain(check))
            if outcome != "skipped":
                told.set("type", check.verdict.value)
        suite.append(case)
    return suite


def _properties(scenario: ScenarioResult) -> ET.Element:
    properties = ET.Element("properties")
    told = {
        "file": scenario.file,
        "verdict": scenario.verdict.value,
        "reason": scenario.reason,
        "engine": scenario.engine,
        "nodes": scenario.nodes,
        "trials": len(scenario.trials),
        **{f"fault.{one.name}": one.proof or "unproven" for one in scenario.faults},
    }
    for name, value in told.items():
        about = {"name": for_xml(name), "value": for_xml(str(value))}
        ET.SubElement(properties, "property", about)
    return properties


def _element(tag: str, about: Mapping[str, str], seconds: float) -> ET.Element:
    cleaned = {key: for_xml(value) for key, value in about.items()}
    return ET.Element(tag, {**cleaned, "time": f"{seconds:.3f}"})


def _began(run: str) -> str:
    """Read when a run began (UTC) from its id; empty if it does not say."""
    try:
        moment = datetime.strptime(f"{run.partition('-')[0]}Z", "%Y%m%dT%H%M%S%z")
    except ValueError:
        return ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}"
