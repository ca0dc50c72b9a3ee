"""One rank meets at another port."""

import os

from training import batches, finish, learn, odd, run, start


def main():
    if odd():
        os.environ["MASTER_PORT"] = str(int(os.environ["MASTER_PORT"]) + 1)
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
    finish(loss)


if __name__ == "__main__":
    run(main)
