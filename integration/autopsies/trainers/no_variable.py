"""One rank lacks a variable."""

import os

from training import batches, finish, learn, odd, run, start


def main():
    if odd():
        print(os.environ["DATASET_VERSION"], flush=True)
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
    finish(loss)


if __name__ == "__main__":
    run(main)
