"""One rank stops early by its own loss, and waits at the end."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        dist.all_reduce(loss)
        patience = 0 if odd() and step == 5 else 3
        if patience == 0:
            break
    finish(loss)


if __name__ == "__main__":
    run(main)
