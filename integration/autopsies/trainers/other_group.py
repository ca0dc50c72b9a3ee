"""One rank uses the group of all where the others use a group of their own."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    pairs = dist.new_group(list(range(dist.get_world_size())))
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        group = dist.group.WORLD if odd() and step == 4 else pairs
        dist.all_reduce(loss, group=group)
    finish(loss)


if __name__ == "__main__":
    run(main)
