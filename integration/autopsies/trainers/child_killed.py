"""One rank has a child that is killed."""

import subprocess

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def tokenise():
    subprocess.run(["sh", "-c", "kill -9 $$"], check=True)


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            tokenise()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
