"""One rank waits for a child that sleeps."""

import subprocess

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def upload():
    subprocess.run(["sleep", "3600"], check=True)


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            upload()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
