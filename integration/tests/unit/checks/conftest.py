"""Writes what scenarios leave, offline W&B run files among it, without playing any."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.checks.evaluation import evaluate
from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.timeline.recording import Event

BLOCK = 32 * 1024


def frame(records: Iterable[bytes]) -> bytes:
    """Lay records out as LevelDB's log does, behind W&B's header."""
    data = bytearray(struct.pack("<4sHB", b":W&B", 0xBEE1, 0))
    for record in records:
        rest, first = record, True
        while first or rest:
            room = BLOCK - len(data) % BLOCK
            if room < 7:
                data += b"\0" * room
                room = BLOCK
            part, rest = rest[: room - 7], rest[room - 7 :]
            kind = {(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}[
                first, not rest
            ]
            crc = zlib.crc32(part, zlib.crc32(bytes([kind])))
            data += struct.pack("<IHB", crc, len(part), kind) + part
            first = False
    return bytes(data)


def run_records(
    run_id: str,
    *,
    name: str | None = None,
    group: str = "basic",
    host: str = "sweep-master",
    config: Mapping[str, Any] | None = None,
    history: Iterable[Mapping[str, Any]] = (),
    summary: Mapping[str, Any] | None = None,
    finished: bool = True,
    started: int = 0,
) -> list[bytes]:
    from wandb.proto import wandb_internal_pb2 as proto  # noqa: PLC0415

    opened = proto.Record()
    opened.run.run_id, opened.run.display_name = run_id, name or run_id
    opened.run.run_group, opened.run.host = group, host
    opened.run.start_time.seconds = started
    for key, value in {"_wandb": {}, **(config or {})}.items():
        opened.run.config.update.add(key=key, value_json=json.dumps(value))
    records = [proto.Record(num=1), opened]
    for row in history:
        record = proto.Record()
        for key, value in row.items():
            record.history.item.add(nested_key=[key], value_json=json.dumps(value))
        records.append(record)
    last = proto.Record()
    for key, value in (summary or {}).items():
        last.summary.update.add(key=key, value_json=json.dumps(value))
    records.append(last)
    if finished:
        end = proto.Record()
        end.exit.exit_code = 0
        records.append(end)
    return [record.SerializeToString() for record in records]


@pytest.fixture(scope="session")
def framed() -> Callable[[Iterable[bytes]], bytes]:
    return frame


@pytest.fixture(scope="session")
def wandb_records() -> Callable[..., list[bytes]]:
    return run_records


HOSTS = ("sweep-master", "sweep-worker")
OVERRIDES = {"trainer.total_timesteps": 512, "trainer.optimizer.learning_rate": 0.25}
SUGGESTION = {"trainer.optimizer.learning_rate": 0.25}
LOG = "hello from {host}\nepoch 1 loss 0.5\n"


class Played:
    """The artifacts of a scenario of two nodes in which everything went well, to be spoilt.

    Args:
        folder: Where they are.
        trials: How many trials completed.

    """

    def __init__(self, folder: Path, trials: int = 2) -> None:
        self.folder = folder
        self.scenario: dict[str, Any] = {"version": 1, "name": "basic"}
        self.events: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []
        self.seconds = {"scenario": 20.0, "up": 1.5, "sweep": 15.0}
        self.call("GET", "/sweeps/basic", {"exists": False, "wandb_sweep_id": ""})
        self.call("POST", "/sweeps/basic/create_sweep", {"created": True, "sweep_id": "u"})
        for node in (0, 1):
            self.emit("rollout.started", node)
            host = HOSTS[node]
            self.write(f"logs/{host}.log", LOG.format(host=host))
        self.write("logs/dummy-api.log", "api is up\n")
        for trial in range(1, trials + 1):
            self._trial(trial)
        both = [(trial, node) for trial in range(1, trials + 1) for node in (0, 1)]
        self.met(*({"trial": trial, "rank": node, "groups": [[node, 2]]} for trial, node in both))
        self.emit("rollout.finished", 0, completed=trials, failed=0)
        self.emit("rollout.finished", 1)

    def _trial(self, trial: int) -> None:
        run, who = f"basic.r.{trial}", {"trial": trial, "run": f"basic.r.{trial}"}
        told = {**who, "overrides": dict(OVERRIDES), "wandb_run_id": run}
        self.emit("suggestion.made", 0, trial=trial, suggestion=dict(SUGGESTION))
        self.call("POST", "/sweeps/basic/runs/next", {"run_id": run})
        self.emit("run.named", 0, **who)
        self.emit("handoff.sent", 0, **told)
        for node in (0, 1):
            self.emit("handoff.received", node, **told)
        digest = f"{trial:064x}"
        for node in (0, 1):
            self.emit("train.finished", node, **who, rank=node, digest=digest)
            self.write(f"trials/{run}/rank-{node}.digest", f"{digest}\n")
            self.write(f"trials/{run}/rank-{node}.log", f"training on rank {node}\n")
            self.emit("rank.exited", node, group=f"trial-{trial}", rank=node, status=0)
        self.emit("eval.finished", 0, **who, score=1.5)
        self.emit("observation.recorded", 0, **who, score=1.5, cost=512, failed=False)
        self.write(f"trials/{run}/overrides.json", json.dumps(OVERRIDES))
        record = {"status": "completed", "score": 1.5, "cost": 512.0, "seconds": 3.0, "reason": ""}
        about = {"suggestion": SUGGESTION, "overrides": OVERRIDES}
        whole = json.dumps({**who, **record, **about}, indent=2)
        self.write(f"trials/{run}/trial.json", whole)
        with zipfile.ZipFile(self.folder / f"trials/{run}/checkpoint.pt", "w") as archive:
            archive.writestr("checkpoint/data.pkl", pickle.dumps({"step": 3}, protocol=2))
            archive.writestr("checkpoint/version", "3\n")
            archive.writestr("checkpoint/byteorder", "little")
        self.wandb(run)

    def wandb(self, run: str, *, stamp: str = "20261122_184202", **said: Any) -> Path:
        """Write a run's W&B file; what is said replaces what is right."""
        history = [{"_step": s, "train/loss": 1 / (s + 1), "reward": s / 2} for s in range(3)]
        right = {"config": OVERRIDES, "history": history, "summary": {"reward": 1.5}}
        file = self.folder / "wandb" / f"offline-run-{stamp}-{run}" / f"run-{run}.wandb"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(frame(run_records(run, **{**right, **said})))
        return file

    def emit(self, event: str, node: int, **fields: Any) -> None:
        self.events.append({"event": event, "node": HOSTS[node], "node_rank": node, **fields})

    def met(self, *ranks: dict[str, Any]) -> None:
        """Write what ranks told of the process groups that they formed, as (number, size)."""
        told = [{"node": HOSTS[each["rank"] % 2], "pid": 9, **each} for each in ranks]
        self.write("groups.json", json.dumps(told))

    def call(self, method: str, path: str, response: Any, status: int | None = 200) -> None:
        route = path.replace("/basic", "/{name}")
        call = {"method": method, "path": path, "route": route, "status": status}
        self.calls.append({"seq": len(self.calls) + 1, **call, "response": response})

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def change(self, name: str, **fields: Any) -> None:
        """Change fields of a file of JSON."""
        kept = json.loads((self.folder / name).read_text())
        self.write(name, json.dumps({**kept, **fields}, indent=2))

    def events_of(self, name: str, **fields: Any) -> list[dict[str, Any]]:
        """Find events by name and fields, to be changed."""
        wanted = {"event": name, **fields}
        return [event for event in self.events if wanted.items() <= event.items()]

    def drop(self, name: str, **fields: Any) -> None:
        for event in self.events_of(name, **fields):
            self.events.remove(event)

    def evidence(self, *expect: Mapping[str, Any]) -> Evidence:
        """Give what checks judge, with these expectations in the scenario."""
        path = self.folder / "api" / "requests.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(call) + "\n" for call in self.calls))
        scenario = Scenario.model_validate({**self.scenario, "expect": list(expect)})
        events = [Event(float(number), event) for number, event in enumerate(self.events)]
        # As in real ones, other things stand between the events.
        lines = [json.dumps({"step": "ready", "received": 0.0})]
        lines += [json.dumps(event.to_json()) for event in events]
        (self.folder / "timeline.jsonl").write_text("".join(f"{line}\n" for line in lines))
        return Evidence(self.folder, scenario, events, self.seconds)

    def judged(self, name: str, *expect: Mapping[str, Any]) -> tuple[str, str]:
        """Evaluate all checks and give one's verdict and detail."""
        results = {result.name: result for result in evaluate(self.evidence(*expect))}
        return results[name].verdict.value, results[name].detail


@pytest.fixture
def played(tmp_path: Path) -> Played:
    return Played(tmp_path)


@pytest.fixture
def unplayed(tmp_path: Path) -> Played:
    return Played(tmp_path, trials=0)
