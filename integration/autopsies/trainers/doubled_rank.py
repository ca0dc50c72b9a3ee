"""One rank takes itself for another one."""

import os

from training import batches, finish, learn, odd, run, start


def main():
    if odd():
        size = int(os.environ["WORLD_SIZE"])
        os.environ["RANK"] = str((int(os.environ["RANK"]) + 1) % size)
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
    finish(loss)


if __name__ == "__main__":
    run(main)
