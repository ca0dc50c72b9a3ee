"""One rank imports a module of its own that never ends."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 2:
            import heavy
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
