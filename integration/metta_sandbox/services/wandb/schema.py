"""The GraphQL schema, and how its fields find their values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphql import GraphQLResolveInfo, GraphQLSchema, build_schema

_PAGES = re.compile(r"^# pages of (\w+)$", re.MULTILINE)
_CONNECTION = """
type {0}Connection {{ edges: [{0}Edge!]! pageInfo: PageInfo! totalCount: Int }}
type {0}Edge {{ node: {0} cursor: String }}
"""


def load_schema() -> GraphQLSchema:
    """Read the schema that lies beside this module."""
    text = Path(__file__).with_name("schema.graphql").read_text(encoding="utf-8")
    pages = [_CONNECTION.format(name) for name in _PAGES.findall(text)]
    return build_schema("".join([text, *pages]))


def snake(name: str) -> str:
    """Spell a name of the schema as Python does: ``clientIDMapping`` as ``client_id_mapping``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def spelt(value: Any) -> Any:
    """Spell all names within arguments as Python does."""
    if isinstance(value, dict):
        return {snake(name): spelt(inner) for name, inner in value.items()}
    return [spelt(inner) for inner in value] if isinstance(value, list) else value


def resolve_field(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
    """Give a field's value: an entry, an attribute, or what a method of its name returns.

    What changes something has one argument, ``input``, which it is handed as it is.
    """
    info.context.require_time()
    name = snake(info.field_name)
    if isinstance(source, Mapping):
        return source.get(name)
    value = getattr(source, name)
    if not callable(value):
        return value
    return value(spelt(arguments["input"])) if "input" in arguments else value(**spelt(arguments))


def resolve_type(value: Any, *_: Any) -> str:
    """Name a value's type in the schema, which is its class's name."""
    return type(value).__name__
