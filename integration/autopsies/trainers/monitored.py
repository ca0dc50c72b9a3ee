"""One rank loads while the others give up at a monitored barrier."""

import time
from datetime import timedelta

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def load_shard():
    if odd():
        time.sleep(45)


def main():
    model, optimizer = start()
    load_shard()
    dist.monitored_barrier(timeout=timedelta(seconds=6))
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
    finish(loss)


if __name__ == "__main__":
    run(main)
