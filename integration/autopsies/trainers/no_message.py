"""One rank finds an assertion broken that says nothing."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        assert not odd() or step < 4
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
