"""The first generation fails of a bad record, the next of what it left."""

import os

from training import batches, finish, learn, odd, run, start


def main():
    if odd() and os.environ["TORCHELASTIC_RESTART_COUNT"] != "0":
        raise FileExistsError("output of an earlier run is here")
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            raise ValueError("record 40 is cut off")
    finish(loss)


if __name__ == "__main__":
    run(main)
