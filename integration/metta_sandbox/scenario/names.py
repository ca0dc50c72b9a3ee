"""Names that several parts of a scenario refer to: hosts, and the bundled trainer's overrides."""

from __future__ import annotations

import re
from collections.abc import Mapping

from metta_sandbox.scenario.overrides import instead, nearest

MASTER = "sweep-master"
WORKER = "sweep-worker"
API = "dummy-api"

#: Override keys of the bundled arena trainer, and the type of each one's value. They stand here,
#: and not in its own model, because a scenario is checked where no trainer is installed.
TRAINER_KEYS: Mapping[str, type[bool | int | float | str]] = {
    "trainer.total_timesteps": int,
    "trainer.batch_size": int,
    "trainer.minibatch_size": int,
    "trainer.bptt_horizon": int,
    "trainer.update_epochs": int,
    "trainer.curriculum": str,
    "trainer.checkpoint_interval": int,
    "trainer.resume": bool,
    "trainer.optimizer.learning_rate": float,
    "trainer.optimizer.beta1": float,
    "trainer.optimizer.beta2": float,
    "trainer.optimizer.eps": float,
    "trainer.ppo.clip_coef": float,
    "trainer.ppo.gamma": float,
    "trainer.ppo.gae_lambda": float,
    "trainer.ppo.vf_coef": float,
    "trainer.ppo.vf_clip_coef": float,
    "trainer.ppo.clip_vloss": bool,
    "trainer.ppo.ent_coef": float,
    "trainer.ppo.max_grad_norm": float,
    "trainer.ppo.norm_adv": bool,
}


def node_host(rank: int) -> str:
    """Name the host of the node with this rank: sweep-master, sweep-worker, sweep-worker-2, …."""
    return (MASTER, WORKER)[rank] if rank < 2 else f"{WORKER}-{rank}"  # noqa: PLR2004


def suggest_host(name: str) -> str | None:
    """Say what is wrong with a host's name, or None if it is one."""
    if name in {MASTER, WORKER, API} or re.fullmatch(rf"{WORKER}-(?:[2-9]|[1-9]\d+)", name):
        return None
    meant = instead(name, [MASTER, WORKER, API])
    return f"expected {MASTER}, {WORKER}, {WORKER}-K (K from 2) or {API}{meant}"


def suggest_key(key: str) -> str | None:
    """Say what is wrong with an override key for the bundled trainer, or None if it is one."""
    if key in TRAINER_KEYS:
        return None
    leaf = key.rpartition(".")[2]
    same_leaf = [known for known in TRAINER_KEYS if known.rpartition(".")[2] == leaf]
    near = nearest(key, TRAINER_KEYS) or next(iter(same_leaf), None)
    did_you_mean = f"; did you mean {near}?" if near else ""
    return f"the bundled trainer has no {key}{did_you_mean}"
