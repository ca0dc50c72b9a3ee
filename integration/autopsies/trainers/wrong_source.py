"""One rank takes itself for the source of a broadcast."""

import torch
import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        source = (dist.get_rank() or 1) if odd() and step == 4 else 0
        dist.broadcast(torch.ones(100000), src=source)
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
