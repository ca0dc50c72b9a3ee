"""One rank tells a failure in several lines."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def check(row, columns):
    if columns != 8:
        raise ValueError(f"row {row} is no good:\n  expected 8 columns\n  found {columns}")


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        check(12, 7 if odd() and step == 4 else 8)
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
