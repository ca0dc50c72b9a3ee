"""A rollout of one's own: rank 0 asks for a run name, and all ranks train under it."""

import json
import os
import time
import urllib.error
import urllib.request

import torch.distributed as dist


def post(path, **body):
    url = os.environ["COGWEB_URL"] + path
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            print(f"refused with {error.code}, asking again", flush=True)
            time.sleep(0.5)


dist.init_process_group("gloo")
handed_off = [None]
if dist.get_rank() == 0:
    post("/sweeps/mine/create_sweep", project="metta", entity="me", wandb_sweep_id="abc123")
    handed_off = [post("/sweeps/mine/runs/next")["run_id"]]
dist.broadcast_object_list(handed_off)
print(f"rank {dist.get_rank()} trains {handed_off[0]}")
dist.destroy_process_group()
