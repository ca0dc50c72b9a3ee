"""One rank sums up once more to write it down."""

import torch
import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def write_down(loss):
    mean = torch.stack([loss, loss, loss])
    dist.all_reduce(mean)
    print(f"mean of all: {mean[0].item():.3f}", flush=True)


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            write_down(loss)
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
