"""The calls that the control plane must have had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

from pydantic import Field

from metta_sandbox.scenario.expect.bounds import Count
from metta_sandbox.scenario.expect.judgement import (
    EvidenceError,
    Finding,
    Judgement,
    judge,
    unclear,
)
from metta_sandbox.scenario.expect.kind import CheckKind, CheckPair
from metta_sandbox.scenario.services import Route
from metta_sandbox.words import many

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import ApiCall, Evidence

RECORD = "api/requests.jsonl"
_BULK = "/stats/episodes/bulk_upload/complete"
#: Of how many routes a warning tells.
_MOST_ROUTES = 5


class ApiCheck(CheckKind):
    """A route of the control plane, and how many calls it has."""

    key = "api"
    about = "How often a route is called."
    example = 'api: {route: "POST /sweeps/{name}/runs/next", calls: {at_least: 2}, status: 503}'

    route: Route = Field(
        description="Method and template, as under `services.api`: `POST /sweeps/{name}/runs/next`."
    )
    calls: Count = Field(description="How many calls, repeated ones too.")
    status: int | None = Field(
        default=None, ge=200, le=599, description="Only those that were answered so."
    )

    @property
    def wanted(self) -> str:
        """How many calls there must be."""
        return self.calls.of("call")

    def __str__(self) -> str:
        status = "" if self.status is None else f" answered {self.status}"
        return f"{self.route}{status} has {self.wanted}"


def check(evidence: Evidence) -> Judgement:
    """Check that the sweep was registered once, each trial named once, and nothing broke."""
    problems: list[Finding | str] = [*_registration(evidence), *_names(evidence)]
    problems += [
        Finding(f"the control plane broke: {call}", call.place)
        for call in evidence.api_calls
        if not call.scripted and (call.status or 0) >= HTTPStatus.INTERNAL_SERVER_ERROR
    ]
    return judge(problems, f"{many(len(evidence.api_calls), 'call')}, none broke", [RECORD])


def asked_in_vain(evidence: Evidence) -> tuple[ApiCall, ...]:
    """Find the calls for which the stand-in lacks something."""
    try:
        return tuple(call for call in evidence.api_calls if _lacking(call))
    except EvidenceError:
        return ()


def check_routes(evidence: Evidence) -> Judgement:
    """Warn of calls for which the stand-in lacks something that Observatory may have."""
    calls = asked_in_vain(evidence)
    judgement = judge([], many(len(calls), "call"), (call.place for call in calls))
    told = list(dict.fromkeys(map(_lacking, calls)))
    more = [f"and for {len(told) - _MOST_ROUTES} more"] if len(told) > _MOST_ROUTES else []
    return judgement.warning("; ".join([*told[:_MOST_ROUTES], *more]))


def _lacking(call: ApiCall) -> str:
    """Say what the stand-in lacks that a call needs; or nothing."""
    if call.scripted:
        return ""
    if call.route is None or call.status == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"asked for {call.method} {call.path}, which the stand-in does not have"
    # Of other routes, answers hold what nodes have sent.
    if call.route == _BULK and isinstance(call.response, Mapping) and "lacks" in call.response:
        return f"{call.method} {call.path}: {call.response['lacks']}"
    return ""


def expect(expected: ApiCheck, evidence: Evidence) -> Judgement:
    """Check how often a route was called, and answered with a status if one is given."""
    if not evidence.api_calls:
        return unclear("the control plane recorded no call at all", RECORD)
    routed = [
        each for each in evidence.api_calls if f"{each.method} {each.route}" == expected.route
    ]
    calls = [each for each in routed if expected.status in (None, each.status)]
    places = [each.place for each in calls]
    seen = many(len(calls), "call")
    if len(routed) > len(calls):
        statuses = Counter(str(each.status) for each in routed)
        told = ", ".join(
            f"{count} without an answer" if status == "None" else f"{count} of {status}"
            for status, count in statuses.items()
        )
        seen += f" (all of that route: {told})"
    if expected.calls.hold(len(calls)):
        return judge([], seen, places or [RECORD])
    found = [Finding(f"expected {expected.wanted}, saw {seen}", seen=seen)]
    found += [Finding(str(each), each.place) for each in calls]
    return judge(found or [seen], "")


def given_names(evidence: Evidence) -> tuple[str, ...]:
    """Give the run names that the control plane gave out for the sweep, each once, in order.

    A call that is repeated under its idempotency key gets the same name again. A name is given out
    also when the answer with it got lost on its way.
    """
    calls = _posts(evidence, "runs/next")
    given = [call for call in calls if call.dropped or _went_well(call)]
    names = (_said(call, "run_id") for call in given)
    # What the scenario answered in the service's place may be anything.
    return tuple(dict.fromkeys(str(name) for name in names if name is not None))


def _registration(evidence: Evidence) -> list[str]:
    sweep = evidence.scenario.sweep.name
    calls = _posts(evidence, "create_sweep")
    done = [call for call in calls if call.dropped or _went_well(call)]
    created = [call for call in done if _said(call, "created") is True]
    existed = any(
        call.method == "GET" and call.path == f"/sweeps/{sweep}" and _said(call, "exists") is True
        for call in evidence.api_calls
    )
    if len(created) == 1 or (not created and existed):
        return []
    seen = "; ".join(str(call) for call in calls) or f"no such call in {RECORD}"
    return [f"expected sweep {sweep} to be created once, saw {many(len(created), 'time')}: {seen}"]


def _names(evidence: Evidence) -> list[str]:
    given, named = given_names(evidence), set(evidence.named)
    problems = [
        f"{name} was given out, but no trial took it" for name in given if name not in named
    ]
    if not given:
        problems.append("expected POST runs/next for each trial, saw none answered")
    return problems


def _posts(evidence: Evidence, verb: str) -> list[ApiCall]:
    path = f"/sweeps/{evidence.scenario.sweep.name}/{verb}"
    return [call for call in evidence.api_calls if (call.method, call.path) == ("POST", path)]


def _went_well(call: ApiCall) -> bool:
    return call.status is not None and call.status < HTTPStatus.MULTIPLE_CHOICES


def _said(call: ApiCall, field: str) -> object:
    return call.response.get(field) if isinstance(call.response, dict) else None


CHECK = CheckPair(ApiCheck, expect)
