"""One rank skips a batch that it can not use."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            continue
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
