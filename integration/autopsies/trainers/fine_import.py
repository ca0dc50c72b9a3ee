"""A module takes long to import."""

import torch.distributed as dist
from training import batches, finish, learn, run, start


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if step == 1:
            import slowly
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
