"""A script with a file of settings and a W&B run of its own."""

import os
import sys

import torch
import torch.distributed as dist
import yaml

with open(sys.argv[1]) as file:
    config = yaml.safe_load(file)

dist.init_process_group("gloo")
lr = config["optimizer"]["lr"] * 1.0
total = torch.tensor([float(dist.get_rank())])
dist.all_reduce(total)

if dist.get_rank() == 0:
    import wandb

    run = wandb.init(project="mine", config=config)
    for step in range(3):
        run.log({"accuracy": 1 - lr / (step + 1), "ranks": total.item()})
    run.finish()
print(f"rank {dist.get_rank()} of {os.environ['WORLD_SIZE']} is done")
dist.destroy_process_group()
