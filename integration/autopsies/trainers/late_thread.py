"""One rank has done its work, and a thread of it never ends."""

import threading
import time

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def upload():
    time.sleep(3600)


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        dist.all_reduce(loss)
    finish(loss)
    if odd():
        threading.Thread(target=upload, name="uploader").start()


if __name__ == "__main__":
    run(main)
