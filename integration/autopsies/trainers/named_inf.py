"""One rank lacks a file whose name is that of a number."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def configure():
    return open("configs/inf.yaml").read()


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            configure()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
