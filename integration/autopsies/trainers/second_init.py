"""One rank makes the process group twice."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 3:
            dist.init_process_group("gloo")
    finish(loss)


if __name__ == "__main__":
    run(main)
