"""A script that learns step by step, slowly where its rate is small, and tells its reward."""

import os
import sys
import time

import torch
import torch.distributed as dist

sys.path.append(os.environ["METTA_AGENT"])
from metta_sandbox.node.agent.emitter import Emitter

emitter = Emitter.from_environment()
dist.init_process_group("gloo")
weight = torch.zeros(1)
for step in range(60):
    gradient = weight - 1
    dist.all_reduce(gradient)
    weight -= float(os.environ["LR"]) * gradient / dist.get_world_size()
    if dist.get_rank() == 0:
        emitter.emit("train.step", step=step, reward=weight.item(), agent_steps=100 * (step + 1))
    time.sleep(0.02)
dist.destroy_process_group()
