"""What is put into a rank: it takes orders, and is not seen by what it was put into."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from metta_sandbox.errors import StackError

if TYPE_CHECKING:
    from metta_sandbox.node.agent.messages import Order
    from tests.integration.agent.conftest import Harness, SmallStack

#: Seconds that a machine with much else to do may take.
_PATIENCE = 60.0
#: A trainer that does small things for ever.
_LOOP = "import time\nprint('begun', flush=True)\nwhile True: time.sleep(0.005)\n"
#: Stands for torch, as far as the injection knows it.
_TORCH = """
hooks = []
def register_optimizer_step_pre_hook(hook): hooks.append(hook)
class Gradient:
    def __init__(self): self.value = 1.0
    def isnan(self): return self
    def any(self): return self.value != self.value
    def fill_(self, value): self.value = value
class Parameter:
    def __init__(self): self.grad = Gradient()
class Optimizer:
    def __init__(self): self.param_groups = [{"params": [Parameter(), Parameter()]}]
    def step(self):
        for hook in hooks: hook(self, (), {})
        return [p.grad.value for p in self.param_groups[0]["params"]]
"""
_STEPS = """
import time, torch.optim.optimizer
print('begun', flush=True)
optimizer = torch.optim.optimizer.Optimizer()
while True:
    optimizer.step()
    time.sleep(0.005)
"""
#: One that tells of its steps itself, too, and meets others.
_TRAINS = """
import os, sys, time, torch.distributed, torch.optim.optimizer
sys.path.append(os.environ["METTA_AGENT"])
from metta_sandbox.node.agent.emitter import Emitter
emitter, optimizer = Emitter.from_environment(), torch.optim.optimizer.Optimizer()
for step in range(1, 10**6):
    optimizer.step()
    emitter.emit("train.step", step=step)
    torch.distributed.ProcessGroup().barrier()
    time.sleep(0.005)
"""
#: Every order that brings something about in a rank, with what is told of it.
_ORDERS: dict[str, tuple[dict[str, Any], str]] = {
    "clock": ({"ahead": 3600 * 10**9}, "ahead"),
    "exit": ({"status": 7}, "exits"),
    "segfault": ({}, "reads"),
    "out_of_memory": ({"at_most": 32 << 20}, "takes"),
    "raise": ({"exception": "KeyError", "message": "by a fault"}, "raised"),
    "sleep": ({}, "sleeps"),
    "hold_gil": ({}, "holds"),
    "nan_gradients": ({}, "nan"),
    "skip_collective": ({}, "skipped"),
}
#: Those of them that wait for what the rank does next.
_NEXT = ("nan_gradients", "skip_collective")
_LOOKS = """
import json, os, sys
print(json.dumps({
    "own": sys.modules["sitecustomize"].__file__,
    "path": [each for each in sys.path if ".pyz" in each],
    "PYTHONPATH": os.environ["PYTHONPATH"],
    "told": os.environ.get("METTA_INJECT"),
    "modules": [each for each in sys.modules if each.startswith("metta_sandbox")],
}), flush=True)
"""


class Rank:
    """A trainer in a group of its own, under the rank wrapper."""

    def __init__(
        self,
        stack: SmallStack,
        program: str,
        python: str,
        meant: str = "1",
        armed: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self.site = stack.folder / "site"
        package = self.site / "torch" / "optim"
        package.mkdir(parents=True)
        for folder in (package, package.parent):
            (folder / "__init__.py").touch()
        (package / "optimizer.py").write_text(_TORCH)
        (package.parent / "distributed.py").write_text(
            "class ProcessGroup:\n    def barrier(self): pass\n"
        )
        (self.site / "sitecustomize.py").write_text("import os\nos.environ['OWN_HOOK'] = 'ran'\n")
        self.harness: Harness = stack.up("n")
        self.harness.arm("n", **(armed or {}))
        wrapper = stack.program("rank", f"--log-folder={stack.folder}", "--")
        env = {"RANK": "1", "LOCAL_RANK": "1", "METTA_INJECT": meant, "METTA_TRIAL": "1"}
        env["PYTHONPATH"], env["METTA_AGENT"] = str(self.site), str(stack.app)
        self.harness.start("n", "trial-1", [*wrapper, python, "-c", program], **env)
        self.log = stack.folder / "rank-1.log"

    def order(self, verb: str, within: float = 15.0, **more: Any) -> Any:
        order = cast("Order", {"do": verb, "fault": "f", **more})
        return self.harness.link.request("n", "order", rank=1, order=order, within=within)

    def happened(self) -> dict[str, Any]:
        record: dict[str, Any] = self.harness.wait("event", event="fault.happened")["record"]
        return record

    def status(self) -> int:
        status: int = self.harness.wait("rank-exited", rank=1)["status"]
        return status


def test_it_is_not_seen_and_hands_on_to_the_users_own(stack: SmallStack, any_python: str) -> None:
    rank = Rank(stack, _LOOKS, any_python)
    rank.status()
    seen = json.loads(rank.log.read_text())

    assert seen["own"] == str(rank.site / "sitecustomize.py")
    assert (seen["path"], seen["PYTHONPATH"], seen["told"]) == ([], str(rank.site), None)
    assert seen["modules"] == []


def test_a_rank_that_is_not_meant_has_none_of_it(stack: SmallStack) -> None:
    rank = Rank(stack, _LOOP, "python3", meant="0,11")
    rank.harness.wait("lines", source="rank-1")

    with pytest.raises(StackError, match="rank 1 takes no orders"):
        rank.order("look", within=0.3)


def test_an_exception_is_raised_in_the_main_thread(stack: SmallStack, any_python: str) -> None:
    rank = Rank(stack, _LOOP, any_python)
    rank.order("raise", exception="KeyError", message="by a fault")

    told = rank.happened()
    assert (told["fault"], told["raised"], told["rank"], told["trial"]) == ("f", "KeyError", 1, 1)
    assert rank.status() == 1
    assert "KeyError: 'by a fault'" in rank.log.read_text()


@pytest.mark.parametrize(
    ("verb", "more", "status"), [("exit", {"status": 7}, 7), ("segfault", {}, -11)]
)
def test_a_process_ends(stack: SmallStack, verb: str, more: dict[str, Any], status: int) -> None:
    rank = Rank(stack, _LOOP, "python3")
    assert rank.order(verb, **more) == {}

    assert rank.happened()["fault"] == "f"
    assert rank.status() == status


def test_the_main_thread_sleeps_while_the_others_answer(stack: SmallStack) -> None:
    rank = Rank(stack, _LOOP, "python3")
    assert not rank.order("look")["main"].startswith("_sleep")
    rank.order("sleep")
    rank.happened()

    # What happens is told on the way there.
    deadline = time.monotonic() + _PATIENCE
    while not (seen := rank.order("look")["main"]).startswith("_sleep_for_ever, "):
        assert time.monotonic() < deadline, seen


def test_the_wall_clock_alone_goes_ahead_and_is_right_again(
    stack: SmallStack, any_python: str
) -> None:
    rank = Rank(stack, _LOOP, any_python)
    hour = 3600 * 10**9
    for ahead in (0, hour, -hour, 0):
        assert rank.order("clock", within=_PATIENCE, ahead=ahead) == {}
        told = rank.order("clocks", within=_PATIENCE)
        assert told["wall"] == pytest.approx([ahead] * 2, abs=hour / 6)
        assert told["monotonic"] == pytest.approx([0, 0], abs=hour / 6)
    assert rank.happened()["ahead"] == hour


def test_nothing_answers_while_the_lock_is_held(stack: SmallStack) -> None:
    rank = Rank(stack, _LOOP, "python3")
    rank.order("hold_gil")
    rank.happened()

    with pytest.raises(StackError, match=r"did not answer within 0\.5 s"):
        rank.order("look", within=0.5)
    (group,) = rank.harness.link.request("n", "groups")
    assert group["ranks"][0]["status"] is None


def test_optimizers_steps_are_counted_and_held_without_the_trainers_help(
    stack: SmallStack, any_python: str
) -> None:
    rank = Rank(stack, "import os, signal\nsignal.pause()", any_python)
    rank.order("look")
    pid = rank.harness.link.request("n", "groups")[0]["ranks"][0]["pid"]
    os.kill(pid, 15)
    rank.status()
    # Armed before the trainer is there, as a scenario's faults are.
    rank.harness.arm("n", f={"event": "optimizer.step", "step": 3, "rank": 1})
    wrapper = stack.program("rank", f"--log-folder={stack.folder}", "--")
    env = {"RANK": "1", "LOCAL_RANK": "1", "METTA_INJECT": "1", "PYTHONPATH": str(rank.site)}
    rank.harness.start("n", "trial-2", [*wrapper, any_python, "-c", _STEPS], **env)

    held = rank.harness.wait("event", event="optimizer.step")
    assert (held["held"], held["record"]["step"]) == (["f"], 3)
    # What it has sent is heard before it waits.
    deadline = time.monotonic() + _PATIENCE
    while not any(name in rank.order("look")["main"] for name in ("_before_step", "_await")):
        assert time.monotonic() < deadline
    rank.order("nan_gradients")
    rank.harness.arm("n")
    told = rank.happened()
    assert (told["gradients"], told["nan_before"], told["nan"], told["step"]) == (2, 0, 2, 3)


@pytest.mark.parametrize("event", ["optimizer.step", "train.step"])
@pytest.mark.parametrize("verb", _ORDERS)
def test_what_strikes_a_rank_that_is_held_waits_for_nobody(
    stack: SmallStack, verb: str, event: str
) -> None:
    rank = Rank(stack, _TRAINS, "python3", armed={"f": {"event": event, "step": 2, "rank": 1}})
    rank.harness.wait("event", event=event)
    more, told = _ORDERS[verb]

    assert rank.order(verb, **more) == {}

    if verb in _NEXT:
        rank.harness.arm("n")
    assert told in rank.happened()
    rank.harness.arm("n")
    if verb in ("clock", "out_of_memory", *_NEXT):
        # It goes on, one step after the other.
        rank.harness.arm("n", g={"event": "optimizer.step", "step": 4, "rank": 1})
        assert rank.harness.wait("event", step=4)


def test_an_order_that_can_not_be_followed_is_refused(stack: SmallStack) -> None:
    rank = Rank(stack, _LOOP, "python3")

    with pytest.raises(StackError, match=r"has not imported torch\.optim"):
        rank.order("nan_gradients")
    with pytest.raises(StackError, match="unknown order 'dance'"):
        rank.order("dance")


def test_processes_are_listed_and_signalled_one_by_one(stack: SmallStack) -> None:
    rank = Rank(stack, _LOOP, "python3")
    rank.harness.wait("lines", source="rank-1")
    listed = rank.harness.link.request("n", "processes")
    (trainer,) = [each for each in listed if " rank " not in each["command"]]

    assert trainer["state"] in "RSD"
    rank.harness.link.request("n", "signal-process", pid=trainer["pid"], signal=9)
    assert rank.status() == -9
    assert Path(rank.log).exists()
