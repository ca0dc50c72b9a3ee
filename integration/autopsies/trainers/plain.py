"""Nothing goes wrong."""

import torch.distributed as dist
from training import batches, finish, learn, run, start


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
