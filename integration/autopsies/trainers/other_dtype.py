"""One rank sums up in double precision."""

import torch
import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        total = torch.tensor([loss.item(), 1.0])
        if odd() and step == 5:
            total = total.double()
        dist.all_reduce(total)
    finish(loss)


if __name__ == "__main__":
    run(main)
