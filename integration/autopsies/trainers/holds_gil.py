"""One rank looks for a pattern that takes for ever."""

import re

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def parse(text):
    return re.match(r"(a+)+$", text)


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            parse("a" * 64 + "!")
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
