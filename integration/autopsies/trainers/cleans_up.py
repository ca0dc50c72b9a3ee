"""One rank raises, and waits for the others before it says so."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def label_of(step):
    labels = {1: 0, 2: 1, 3: 0}
    return labels[step]


def main():
    model, optimizer = start()
    try:
        for step, x in enumerate(batches(), 1):
            loss = learn(model, optimizer, x, step)
            if odd():
                loss = loss + label_of(step)
            dist.all_reduce(loss)
    finally:
        dist.barrier()
    finish(loss)


if __name__ == "__main__":
    run(main)
