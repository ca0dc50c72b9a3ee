"""One rank waits for a child whose output it does not read."""

import subprocess
import sys

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def measure():
    code = "print('x' * 10_000_000)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child.wait()


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            measure()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
