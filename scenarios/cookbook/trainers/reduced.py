"""A script that needs a package beyond torch."""

import json
import os

import torch
import torch.distributed as dist
from einops import reduce

dist.init_process_group("gloo")
loss = reduce(torch.arange(6.0).reshape(2, 3), "a b -> 1", "mean")
dist.all_reduce(loss)
print(f"rank {dist.get_rank()} reduced by {reduce.__module__.split('.')[0]}")
if dist.get_rank() == 0:
    with open(os.path.join(os.environ["METTA_TRIAL_DIR"], "loss.json"), "w") as file:
        json.dump({"loss": loss.item()}, file)
dist.destroy_process_group()
