"""One rank makes a group that the others do not make."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            dist.new_group(list(range(dist.get_world_size())))
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
