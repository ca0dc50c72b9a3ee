"""What these trainers share: a model, batches, a step, a beginning and an end."""

import os
import sys
import threading

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP

STEPS = 8


def rank_now():
    return int(os.environ["RANK"])


def odd():
    return rank_now() == int(os.environ["ODD_RANK"])


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))


def start(**options):
    dist.init_process_group("gloo", **options)
    model = DDP(make_model())
    return model, torch.optim.SGD(model.parameters(), lr=float(os.environ.get("LR", "0.01")))


def batches(count=STEPS):
    numbers = torch.Generator().manual_seed(rank_now())
    for _ in range(count):
        yield torch.randn(32, 8, generator=numbers)


def learn(model, optimizer, x, step):
    loss = (model(x) - x.sum(1, keepdim=True)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    told(step, loss.item())
    return loss.detach()


def told(step, loss):
    print(f"step {step} loss={loss:.4f}", flush=True)
    if emitter is not None:
        emitter.emit("train.step", step=step, loss=loss, agent_steps=32 * step)


def finish(loss):
    dist.barrier()
    print(f"loss={float(loss):.5f}", flush=True)
    dist.destroy_process_group()


def run(main):
    """Call main, or have a thread call it."""
    if os.environ.get("IN_THREAD") == "1":
        done = threading.Event()
        fit = threading.Thread(target=lambda: (main(), done.set()), name="fit")
        fit.start()
        fit.join()
        if not done.is_set():
            sys.exit("training came to no end")
    else:
        main()


def make_emitter():
    if os.environ.get("WITH_EVENTS") != "1":
        return None
    sys.path.append(os.environ["METTA_AGENT"])
    from metta_sandbox.node.agent.emitter import Emitter

    return Emitter.from_environment()


emitter = make_emitter()
