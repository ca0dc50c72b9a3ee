"""The control plane does what its own OpenAPI document says, whatever it is asked."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CheckFunction
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    negative_data_rejection,
    positive_data_acceptance,
)

from metta_sandbox.api.app import create_app


@pytest.mark.parametrize("examples", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_answers_are_as_documented(tmp_path: Path, examples: int) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(tmp_path))
    operations = []
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operations.append(found.ok())
    assert len(operations) == 48
    for operation in operations:
        check(operation, schemathesis.GenerationMode.POSITIVE, examples)
        # Paths are text, and any text is right.
        if operation.body:
            check(operation, schemathesis.GenerationMode.NEGATIVE, examples)


def check(
    operation: schemathesis.APIOperation[Any, Any, Any, Any],
    mode: schemathesis.GenerationMode,
    examples: int,
) -> None:
    """Make requests to a route that its schema allows, or none of which it does."""
    # It reads "1" where a number is due, as FastAPI's services do.
    lenient: list[CheckFunction] = [negative_data_rejection]
    if operation.path == "/sql/query":
        # Not every text is SQL, which no schema can say.
        lenient.append(positive_data_acceptance)

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def each(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy(generation_mode=mode))
        case.call_and_validate(excluded_checks=lenient)

    each()
