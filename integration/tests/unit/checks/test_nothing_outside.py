"""What watchers wrote is judged: nothing, something, what is allowed, and what they missed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from metta_sandbox.play.isolation import sidecars
from metta_sandbox.scenario.expect.judgement import Judgement
from metta_sandbox.scenario.expect.kinds import nothing_outside as outside
from metta_sandbox.scenario.loading import parse
from metta_sandbox.scenario.needs import lacking, needs
from metta_sandbox.stack.engines.process.engine import ProcessEngine
from metta_sandbox.stack.sidecar_service import WATCHER

if TYPE_CHECKING:
    from tests.unit.checks.conftest import Played

#: Nobody asked who is outside.
BLIND = {"lookup": "sweep-master", "attempt": "packet"}
PROOF = {**BLIND, "gateway": "nobody answers"}
Record = dict[str, Any]
BEGAN: Record = {"kind": "watching", "mono": 1.0, "proof": PROOF}
LOOKUP: Record = {"kind": "lookup", "mono": 5.0, "name": "example.com"}
ATTEMPT: Record = {
    "kind": "attempt",
    "mono": 6.0,
    "address": "192.0.2.1",
    "protocol": "tcp",
    "port": 80,
}
REACHED: Record = {"kind": "reached", "mono": 1.0, "address": "10.9.8.1"}
NO_ROUTE: Record = {"kind": "no route", "mono": 7.0, "count": 3}
END: Record = {"kind": "end", "mono": 99.0, "proof": PROOF, "lost": 0, "counts": {}}
#: A line for each of the first few alone, and all counted.
FLOOD = {**END, "counts": {"example.com": 4000}}


def watch(played: Played, host: str, *records: Record | str) -> None:
    lines = [
        record
        if isinstance(record, str)
        else json.dumps({"time": 1e9 + record["mono"], "node": host, **record})
        for record in records
    ]
    played.write(f"outside/{host}.jsonl", "".join(f"{line}\n" for line in lines))


def judged(
    played: Played, *worker: Record | str, said: str = "true", mono: float = 5.0
) -> Judgement:
    scenario = parse(f"version: 1\nname: basic\nexpect: [nothing_outside: {said}]", Path("x"))
    watch(played, "sweep-master", BEGAN, END)
    if worker:
        watch(played, "sweep-worker", *worker)
    for event in played.events:
        event["mono"] = mono
    evidence = played.evidence()
    return outside.check(scenario.expect[0].said, replace(evidence, scenario=scenario))  # type: ignore[arg-type]


def test_who_asked_for_nothing_passes(played: Played) -> None:
    judgement = judged(played, BEGAN, END)
    assert (judgement.verdict, judgement.detail) == (
        "passed",
        "2 nodes watched throughout: nothing",
    )
    assert judgement.where == ("outside/sweep-master.jsonl", "outside/sweep-worker.jsonl")


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ((LOOKUP, END), "outside/sweep-worker.jsonl:2: sweep-worker looked up example.com 1 time"),
        ((LOOKUP, LOOKUP, END), "looked up example.com 2 times"),
        ((LOOKUP, FLOOD), "sweep-worker looked up example.com 4,000 times"),
        ((LOOKUP, ATTEMPT, END), "jsonl:3: sweep-worker tried to reach 192.0.2.1:80/tcp 1 time"),
        ((REACHED, END), "sweep-worker saw somebody outside the stack at 10.9.8.1 1 time"),
        ((NO_ROUTE, END), "without a route (the kernel does not tell which) 3 times"),
        # What was seen was seen, though more may have been missed.
        ((LOOKUP,), "it died before the end"),
    ],
)
def test_who_asked_for_something_fails(
    played: Played, records: tuple[Record, ...], told: str
) -> None:
    judgement = judged(played, BEGAN, *records)
    assert judgement.verdict == "failed"
    assert told in judgement.detail


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("{allow: [example.com, 192.0.2.1]}", "passed"),
        ("{allow: ['*.COM', '192.0.2.*']}", "passed"),
        ("{allow: [example.com]}", "failed"),
        ("{allow: ['*.example.com', 192.0.2.1]}", "failed"),
    ],
)
def test_what_is_allowed_may_be_asked_for(played: Played, said: str, verdict: str) -> None:
    assert judged(played, BEGAN, LOOKUP, ATTEMPT, END, said=said).verdict == verdict


def test_an_attempt_that_nobody_knows_the_aim_of_is_never_allowed(played: Played) -> None:
    assert judged(played, BEGAN, NO_ROUTE, END, said="{allow: ['*']}").verdict == "failed"


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ((), "outside/sweep-worker.jsonl: No such file"),
        ((BEGAN,), "the watcher of sweep-worker: it died before the end"),
        ((END,), "it never watched"),
        ((BEGAN, {"kind": "blind", "mono": 2.0, "reason": "no lookup"}), "does not see: no lookup"),
        (
            ({**BEGAN, "proof": {"lookup": "x", "attempt": "x"}}, END),
            "it did not prove that it sees",
        ),
        ((BEGAN, {**END, "proof": {}}), "it did not prove that it sees"),
        ((BEGAN, {**END, "lost": 7}), "it lost 7 packets"),
        (
            (BEGAN, "Traceback (most recent call last):"),
            "jsonl:2: not what a watcher writes: Trace",
        ),
        ((BEGAN, "[1]", END), "not what a watcher writes: [1]"),
        (({**BEGAN, "mono": 5.5}, END), "it did not watch from before the node's first event"),
        ((BEGAN, {**END, "mono": 4.5}), "it did not watch from before the node's first event"),
    ],
)
def test_what_may_have_been_missed_is_inconclusive(
    played: Played, records: tuple[Record | str, ...], why: str
) -> None:
    judgement = judged(played, *records)
    assert judgement.verdict == "inconclusive"
    assert why in judgement.detail


def test_without_containers_it_alone_is_skipped(played: Played) -> None:
    scenario = parse("version: 1\nname: basic\nexpect: [nothing_outside: {}]", Path("x"))
    (item,) = scenario.expect
    evidence = replace(played.evidence(), engine="process", has=frozenset())
    judgement = outside.check(item.said, evidence)  # type: ignore[arg-type]
    assert judgement.verdict == "skipped"
    assert "the engine process has no side containers" in judgement.detail
    assert lacking(scenario, ProcessEngine()) == ""
    assert [str(need) for need in needs(scenario)] == [
        "side containers (expect[0].nothing_outside, else skipped)"
    ]


def test_watchers_are_there_only_where_they_are_needed() -> None:
    plain = "version: 1\nname: x\n"
    assert sidecars(parse(plain, Path("x"))) == ()
    twice = f"{plain}expect: [nothing_outside: true, nothing_outside: {{allow: [a]}}]"
    assert sidecars(parse(twice, Path("x"))) == (WATCHER,)
