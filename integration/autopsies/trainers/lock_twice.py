"""One rank takes a lock that it has."""

import threading

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start

lock = threading.Lock()


def count(step):
    with lock:
        return step + 1


def record(step):
    with lock:
        return count(step)


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            record(step)
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
