"""A script whose rank 1 raises in the runs that FAILS names, while the others wait for it."""

import os

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
rank = dist.get_rank()
if rank == 1 and os.environ["METTA_RUN_ID"] in os.environ["FAILS"].split():
    raise RuntimeError("rank 1 has had enough")

total = torch.ones(1)
dist.all_reduce(total)
if rank == 0:
    print(f"loss={1 / total.item()}")
dist.destroy_process_group()
