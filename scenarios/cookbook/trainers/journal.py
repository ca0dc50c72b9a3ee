"""A sweep that leads itself: rank 0 asks Optuna, whose journal lies in the shared folder."""

import optuna
import torch
import torch.distributed as dist
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")
rank = dist.get_rank()
study = None
if rank == 0:
    journal = JournalStorage(JournalFileBackend("journal.log"))
    study = optuna.create_study(storage=journal, study_name="s", load_if_exists=True)
for number in range(3):
    trial = study.ask() if study else None
    parcel = [trial.suggest_float("lr", 0.01, 0.5, log=True) if trial else None]
    dist.broadcast_object_list(parcel)
    torch.manual_seed(0)
    model = DistributedDataParallel(torch.nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=parcel[0])
    for _ in range(20):
        loss = (model(torch.ones(4, 2)) - 1).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if study:
        study.tell(trial, loss.item())
        print(f"trial {number}: lr {parcel[0]:.4f}, loss {loss.item():.5f}")
if study:
    print(f"the journal has {len(study.trials)} trials")
dist.destroy_process_group()
