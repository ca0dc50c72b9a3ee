"""The examples in here are read by tests, and are none themselves."""

from __future__ import annotations

collect_ignore_glob = ["*.yaml"]
