"""A thread that nobody needs ends of an error."""

import threading

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def watch():
    raise RuntimeError("no display to watch")


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 3:
            threading.Thread(target=watch, name="watcher", daemon=True).start()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
