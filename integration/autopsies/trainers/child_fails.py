"""One rank has a child that fails."""

import subprocess

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def pack():
    subprocess.run(["sh", "-c", "echo disk quota table is empty >&2; exit 4"], check=True)


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            pack()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
