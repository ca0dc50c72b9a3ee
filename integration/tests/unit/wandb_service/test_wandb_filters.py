"""The filters and orders of ``wandb.Api().runs``."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from graphql import GraphQLError

from metta_sandbox.services.wandb.filters import matches, ordered, read_filters

if TYPE_CHECKING:
    from tests.unit.wandb_service.conftest import StandIn

RUN = {
    "name": "r1",
    "display_name": "mine",
    "state": "finished",
    "tags": ["a", "b"],
    "config": {"lr": 0.1, "a.b": 1, "net": {"depth": 3}},
    "summary_metrics": {"loss": 2, "text": "x"},
    "group": None,
}


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"state": "finished"},
        {"displayName": "mine"},
        {"config.lr": 0.1},
        {"config.lr.value": 0.1},
        {"config.a.b": 1},
        {"config.net.depth": {"$gte": 3, "$lt": 4}},
        {"summary_metrics.loss": {"$gt": 1, "$lte": 2}},
        {"summaryMetrics.loss": {"$ne": 3}},
        {"tags": "a"},
        {"tags": {"$in": ["z", "b"]}},
        {"tags": {"$nin": ["z"]}},
        {"group": None},
        {"group": {"$exists": False}},
        {"display_name": {"$regex": "^m.*e$"}},
        {"$and": [{"state": "finished"}, {"$or": [{"tags": "z"}, {"config.lr": {"$lt": 1}}]}]},
        {"$or": []},
        {"$nor": [{"state": "failed"}]},
        {"$not": {"state": "failed"}},
        {"state": {"$not": {"$eq": "failed"}}},
    ],
    ids=json.dumps,
)
def test_what_fits(filters: dict[str, Any]) -> None:
    assert matches(RUN, filters)


@pytest.mark.parametrize(
    "filters",
    [
        {"state": "failed"},
        {"config.none": 1},
        {"summary_metrics.text": {"$gt": 1}},
        {"summary_metrics.none": {"$lt": 1}},
        {"tags": {"$ne": "a"}},
        {"group": {"$regex": "."}},
        {"$or": [{"state": "failed"}]},
    ],
    ids=json.dumps,
)
def test_what_does_not(filters: dict[str, Any]) -> None:
    assert not matches(RUN, filters)


@pytest.mark.parametrize(
    "filters", [{"$where": "1"}, {"state": {"$near": 1}}, {"state": {"$regex": "("}}]
)
def test_what_the_stand_in_does_not_have_is_said(filters: dict[str, Any]) -> None:
    with pytest.raises(GraphQLError):
        matches(RUN, filters)


@pytest.mark.parametrize("text", ["{", "[]", "1"])
def test_what_is_no_filter_is_said(text: str) -> None:
    with pytest.raises(GraphQLError):
        read_filters(text)


def test_a_pattern_that_never_ends_is_given_up() -> None:
    began = time.monotonic()
    with pytest.raises(GraphQLError):
        matches({"name": "a" * 60}, {"name": {"$regex": "^(a+)+$b"}})
    assert time.monotonic() - began < 30


def test_orders_put_what_has_no_value_last() -> None:
    runs = [{"n": 1, "summary_metrics": {}}]
    runs += [{"n": n, "summary_metrics": {"loss": n}} for n in (3, 2, 4)]
    assert [each["n"] for each in ordered(runs, "+summary_metrics.loss")] == [2, 3, 4, 1]
    assert [each["n"] for each in ordered(runs, "-summary_metrics.loss")] == [4, 3, 2, 1]


def test_runs_come_in_pages(server: StandIn) -> None:
    for number in range(5):
        server.upsert(f"r{number}", config=json.dumps({"n": {"value": number}}))
    query = """query Runs($after: String, $filters: JSONString) { project(name: "p") {
      runCount(filters: $filters)
      runs(filters: $filters, order: "-config.n", first: 3, after: $after) {
        edges { node { name } cursor } pageInfo { hasNextPage endCursor } } } }"""
    filters = json.dumps({"config.n": {"$gt": 0}})
    names, after = [], None
    while True:
        found = server.data_of(query, after=after, filters=filters)["project"]
        names += [edge["node"]["name"] for edge in found["runs"]["edges"]]
        after = found["runs"]["pageInfo"]["endCursor"]
        if not found["runs"]["pageInfo"]["hasNextPage"]:
            break
    assert (found["runCount"], names) == (4, ["r4", "r3", "r2", "r1"])
