"""One rank takes the largest where others sum up, which all notice by the result."""

import torch
import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        seen = torch.full((4096,), 32.0)
        dist.all_reduce(seen, dist.ReduceOp.MAX if odd() and step == 4 else dist.ReduceOp.SUM)
        assert (seen == 32 * dist.get_world_size()).all(), "samples seen do not add up"
    finish(loss)


if __name__ == "__main__":
    run(main)
