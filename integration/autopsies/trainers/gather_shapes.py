"""One rank gathers shorter texts."""

import torch
import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        length = 300 if odd() and step == 5 else 500
        texts = [torch.zeros(length) for _ in range(dist.get_world_size())]
        dist.all_gather(texts, torch.ones(length))
    finish(loss)


if __name__ == "__main__":
    run(main)
