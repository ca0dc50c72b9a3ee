"""Names of Compose projects: each scenario's own, and short enough for DNS."""

from __future__ import annotations

from metta_sandbox.stack.engines.compose.engine import project_name
from metta_sandbox.stack.engines.compose.request import container_name

RUN = "20261123T003748-3d3d"


def test_a_short_name_stays() -> None:
    assert project_name(RUN, "hand-off") == "metta-20261123t003748-3d3d-hand-off"


def test_a_long_one_fits_a_label_and_stays_its_own() -> None:
    cells = [f"batch-sizes-batch-size-{size}-minibatch-size-64" for size in (128, 256)]
    names = {project_name(RUN, cell) for cell in cells}
    assert len(names) == 2
    for name in names:
        assert name.startswith("metta-20261123t003748-3d3d-batch-sizes")
        assert len(container_name(name, "sweep-worker-63")) <= 63
