"""One rank tells a failure by another one."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def mean(numbers):
    return sum(numbers) / len(numbers)


def report(numbers):
    try:
        return mean(numbers)
    except ZeroDivisionError as error:
        raise RuntimeError("could not write the report") from error


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        report([] if odd() and step == 4 else [1.0])
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
