"""Two threads of a rank take two locks, each the other one first."""

import threading
import time

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start

cache, index = threading.Lock(), threading.Lock()


def refresh():
    with index:
        time.sleep(1)
        with cache:
            pass


def look_up():
    with cache:
        time.sleep(1)
        with index:
            pass


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            threading.Thread(target=refresh, name="refresher", daemon=True).start()
            look_up()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
