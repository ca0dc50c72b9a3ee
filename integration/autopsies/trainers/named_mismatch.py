"""One rank has the checkpoint of another model, and says so."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def compare(layers):
    if layers != 4:
        raise ValueError(f"checkpoint does not match the model: {layers} layers, not 4")


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        compare(3 if odd() and step == 4 else 4)
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
