"""One rank asks Python for more than there is."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def cache():
    return bytearray(1 << 62)


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            cache()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
