"""The first generation fails, and torchrun starts another one."""

import os
import sys

from training import batches, finish, learn, run, start


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and step == 3:
            sys.exit(9)
    finish(loss)


if __name__ == "__main__":
    run(main)
