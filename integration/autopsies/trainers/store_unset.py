"""All wait for a key that one rank has under another name."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    store = dist.distributed_c10d._get_default_store()
    if odd():
        store.set("vocab", "17")
    else:
        print(store.get("vocabulary"), flush=True)
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
    finish(loss)


if __name__ == "__main__":
    run(main)
