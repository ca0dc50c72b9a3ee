"""What SkyPilot's users rely on: `setup` before `run`, each with its variables, on N nodes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from .conftest import SHORT, User

#: Each node tells what it sees of itself and of the others.
SETUP = """\
python - <<'END'
import json, os, pathlib, socket
seen = dict(os.environ)
shared = pathlib.Path(os.environ["METTA_RUN_FOLDER"])
(shared / f"setup-{seen['SKYPILOT_SETUP_NODE_RANK']}.json").write_text(json.dumps(seen))
END
"""
RESOLVE = """\
python -c "import socket; [socket.gethostbyname(h) for h in ('sweep-master', 'dummy-api')]"
getent hosts sweep-master
"""
RUN_ONLY = {
    "NUM_NODES", "NODE_INDEX", "MASTER_ADDR", "MASTER_PORT", "NUM_GPUS", "RANK", "LOCAL_RANK",
    "WORLD_SIZE", "DIST_URL", "SKYPILOT_NODE_RANK", "SKYPILOT_NODE_IPS",
    "SKYPILOT_NUM_GPUS_PER_NODE", "METTA_CMD", "METTA_CMD_ARGS", "METTA_RUN_ID",
}  # fmt: skip


def scenario(user: User, nodes: int, setup: str) -> Path:
    overrides = [word for word in SHORT if word.startswith("trainer.")]
    path = user.folder / "scenario.yaml"
    data = {
        "version": 1,
        "name": "view",
        "nodes": nodes,
        "sweep": {
            "trials": 1,
            "parameters": {"trainer.ppo.gamma": {"values": [0.9]}},
        },
        "workload": {"setup": setup, "trainer": {"overrides": overrides}},
    }
    YAML(typ="safe", pure=True).dump(data, path)
    return path


@pytest.mark.parametrize("nodes", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_setup_and_run_on_n_nodes(user: User, nodes: int) -> None:
    setup = SETUP + (RESOLVE if user.engine == "compose" else "")
    path = scenario(user, nodes, setup)
    status, said = user.do("run", "--engine", user.engine, str(path))
    assert status == 0, said
    folder = user.artifacts() / "view"
    seen = [json.loads((folder / f"shared/setup-{rank}.json").read_text()) for rank in range(nodes)]
    for rank, environ in enumerate(seen):
        assert environ["SKYPILOT_SETUP_NODE_RANK"] == str(rank)
        assert environ["SKYPILOT_NUM_NODES"] == str(nodes)
        addresses = environ["SKYPILOT_SETUP_NODE_IPS"].split("\n")
        assert len(set(addresses)) == nodes
        assert addresses == seen[0]["SKYPILOT_SETUP_NODE_IPS"].split("\n")
        assert environ["SKYPILOT_TASK_ID"]
        assert not environ.keys() & RUN_ONLY
    (trial,) = (folder / "trials").iterdir()
    digests = {(trial / f"rank-{rank}.digest").read_text() for rank in range(nodes)}
    assert len(digests) == 1
    timeline = [json.loads(line) for line in (folder / "timeline.jsonl").read_text().splitlines()]
    begun = {
        each["node"]: at
        for at, each in enumerate(timeline)
        if each.get("event") == "rollout.started"
    }
    assert len(begun) == nodes
    done = [at for at, each in enumerate(timeline) if "setup ended with status 0" in str(each)]
    assert len(done) == nodes
    assert max(done) < min(begun.values())


def test_a_setup_that_fails_on_one_node_ends_the_job_on_all(user: User) -> None:
    setup = 'test "$SKYPILOT_SETUP_NODE_RANK" = 0 && exec sleep 600\necho no such package\nexit 9'
    status, said = user.do("run", "--engine", user.engine, str(scenario(user, 2, setup)))
    assert status == 1
    assert "setup on sweep-worker exited with status 9" in said
    assert "no such package" in said
    assert not (user.artifacts() / "view" / "trials").exists()
