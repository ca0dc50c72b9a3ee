"""A W&B sweep as its users write it: the first node makes it, and every node has an agent."""

import os
import time
from pathlib import Path

import wandb

SWEEP = {
    "method": "grid",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"lr": {"values": [0.1, 0.2, 0.3, 0.4]}},
}


def train():
    with wandb.init() as run:
        for step in range(5):
            run.log({"loss": (1 - run.config.lr) ** step})


told = Path("sweep-id")
if os.environ["NODE_INDEX"] == "0":
    made = Path("sweep-id.part")
    made.write_text(wandb.sweep(SWEEP, project="agents"))
    made.rename(told)
while not told.exists():
    time.sleep(0.1)
wandb.agent(told.read_text(), function=train, project="agents", count=2)
