"""Whether a YAML file that is no valid scenario was meant to be one.

Folders hold other YAML files, too: a trainer's Hydra configuration, Compose files, workflows.
"""

from __future__ import annotations

import re

from ruamel.yaml.nodes import MappingNode, ScalarNode

from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.tree import UnreadableError, read

#: A key at the outermost level of a file that can't be read as YAML.
_KEY = re.compile(r"^(\w+)\s*:", re.MULTILINE)
#: What other files have, too, and what a file has besides that is no key of a scenario's.
_ANYBODYS = {"version", "description", "tags", "nodes", "hardware", "seed", "services"}
_SCENARIOS = (set(Scenario.model_fields) - _ANYBODYS) | {"matrix", "variables"}


def is_meant(text: str) -> bool:
    """Tell whether a file is meant to be a scenario: it extends one, or has a version and more."""
    keys = _keys(text)
    return "extends" in keys or ("version" in keys and bool(keys & _SCENARIOS))


def _keys(text: str) -> set[str]:
    try:
        root = read(text, "").root
    except UnreadableError:
        return set(_KEY.findall(text))
    pairs = root.value if isinstance(root, MappingNode) else []
    return {str(key.value) for key, _ in pairs if isinstance(key, ScalarNode)}
