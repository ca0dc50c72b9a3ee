"""A data-loader worker of one rank is killed."""

import os
import signal

from torch.utils.data import DataLoader, Dataset
from training import STEPS, batches, finish, learn, odd, run, start


class Samples(Dataset):
    def __init__(self):
        self.samples = list(batches())

    def __len__(self):
        return STEPS

    def __getitem__(self, number):
        if odd() and number == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.samples[number]


def main():
    model, optimizer = start()
    for step, x in enumerate(DataLoader(Samples(), batch_size=None, num_workers=1), 1):
        loss = learn(model, optimizer, x, step)
    finish(loss)


if __name__ == "__main__":
    run(main)
