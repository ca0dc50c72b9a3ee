"""One rank waits for a child that waits for its input."""

import subprocess

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def convert():
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    child.wait()


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            convert()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
