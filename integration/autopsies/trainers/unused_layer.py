"""One rank leaves a layer out, whose gradients the others wait for."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from training import batches, finish, learn, odd, run


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.extra, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 1)
        self.short = False

    def forward(self, x):
        x = self.first(x)
        if not self.short:
            x = self.extra(x)
        return self.last(x)


def main():
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    net = Net()
    model = DDP(net)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step, x in enumerate(batches(), 1):
        net.short = odd() and step == 4
        loss = learn(model, optimizer, x, step)
    finish(loss)


if __name__ == "__main__":
    run(main)
