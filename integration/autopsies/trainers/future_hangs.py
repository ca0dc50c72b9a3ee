"""One rank waits for work that a thread never ends."""

import time
from concurrent.futures import ThreadPoolExecutor

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def decode(frame):
    while frame:
        time.sleep(0.5)


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(decode, 31).result()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
