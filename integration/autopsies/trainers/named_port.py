"""One rank speaks of addresses that are no sockets."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def enrol():
    raise ValueError("customer 12: address already in use by customer 9")


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            enrol()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
