"""One rank asks a cache of its own that is not there."""

import socket

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def cache():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = free.getsockname()
    return socket.create_connection(where)


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            cache()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
