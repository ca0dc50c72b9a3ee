"""One rank meets a class that is none."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 5:
            raise IndexError("target 10 is out of bounds")
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
