"""One rank waits for an event that nobody sets."""

import threading

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start

ready = threading.Event()


def await_weights():
    ready.wait()


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            await_weights()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
