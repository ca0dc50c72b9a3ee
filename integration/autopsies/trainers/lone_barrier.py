"""One rank saves, and meets the others there, who know nothing of it."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def save(model):
    print(f"saving {len(model.state_dict())} tensors", flush=True)
    dist.barrier()


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            save(model)
    finish(loss)


if __name__ == "__main__":
    run(main)
