"""One rank locks a file and goes where it needs another one, which wants the lock."""

import fcntl
import time

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def locked():
    file = open("cache.lock", "w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if step == 4:
            if not odd():
                time.sleep(1.5)
            held = locked()
            dist.barrier()
            held.close()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
