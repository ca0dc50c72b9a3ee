"""Everybody receives from the one before, and nobody has sent yet."""

import torch
import torch.distributed as dist
from training import batches, finish, learn, rank_now, run, start


def hand_round(piece):
    size = dist.get_world_size()
    dist.recv(torch.zeros_like(piece), src=(rank_now() - 1) % size)
    dist.send(piece, dst=(rank_now() + 1) % size)


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if step == 4:
            hand_round(torch.ones(64))
    finish(loss)


if __name__ == "__main__":
    run(main)
