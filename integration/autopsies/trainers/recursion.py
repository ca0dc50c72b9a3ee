"""One rank goes into a tree that is its own branch."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def depth(tree):
    return 1 + depth(tree["branch"])


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 3:
            tree = {}
            tree["branch"] = tree
            print(depth(tree), flush=True)
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
