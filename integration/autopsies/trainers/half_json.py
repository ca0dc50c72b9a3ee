"""One rank reads a file of which only half is there."""

import json

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def settings():
    return json.loads('{"classes": 4, "names": ["cat", ')


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 3:
            settings()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
