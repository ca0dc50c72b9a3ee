"""One rank is content, and goes home with status 0."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            print("converged", flush=True)
            return
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
