"""One rank sends objects where the others send a tensor."""

import torch
import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            dist.all_gather_object([None] * dist.get_world_size(), {"loss": loss.item()})
        else:
            dist.all_reduce(torch.ones(2000))
    finish(loss)


if __name__ == "__main__":
    run(main)
