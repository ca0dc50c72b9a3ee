"""One rank asks a service that takes the call and never answers."""

import socket

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def ask():
    service = socket.create_server(("127.0.0.1", 0))
    with socket.create_connection(service.getsockname()) as caller:
        caller.sendall(b"GET /weights\n")
        return caller.recv(100)


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            ask()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
