"""One rank loads for longer than the group waits."""

import time
from datetime import timedelta

from training import batches, finish, learn, odd, run, start


def load_shard():
    if odd():
        time.sleep(45)


def main():
    model, optimizer = start(timeout=timedelta(seconds=7))
    load_shard()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
    finish(loss)


if __name__ == "__main__":
    run(main)
