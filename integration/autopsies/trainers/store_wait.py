"""One rank waits for a key of the store that nobody sets."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    store = dist.distributed_c10d._get_default_store()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            print(store.get("vocabulary"), flush=True)
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
