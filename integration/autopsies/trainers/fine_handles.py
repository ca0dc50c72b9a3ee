"""One rank often finds nothing new in its queue, and sums up with the others all the same."""

import queue

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start

FOUND = queue.Queue()


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        try:
            if odd():
                loss = loss + FOUND.get_nowait()
            dist.all_reduce(loss)
        except queue.Empty:
            dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
