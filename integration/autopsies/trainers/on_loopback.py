"""One rank tells the others an address that only it can reach."""

import os

from training import batches, finish, learn, odd, run, start


def main():
    if odd():
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
    finish(loss)


if __name__ == "__main__":
    run(main)
