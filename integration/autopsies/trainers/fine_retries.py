"""A child fails, and succeeds when tried again."""

import subprocess

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def upload(again):
    command = ["sh", "-c", f"echo upload {again}; exit {1 - again}"]
    if subprocess.run(command).returncode and not again:
        upload(1)


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd():
            upload(0)
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
