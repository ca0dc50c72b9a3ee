"""From what was seen to who is to blame: one case after the other, made by hand."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from metta_sandbox.autopsy.case import Case
from metta_sandbox.autopsy.cause import Cause, Kind, WaitingRank
from metta_sandbox.autopsy.diagnose import diagnose
from metta_sandbox.autopsy.losses import LostMetric
from metta_sandbox.autopsy.seen import (
    Collective,
    Fd,
    Frame,
    NodeLook,
    Process,
    Raised,
    RaisedOne,
    Reaped,
    Recorded,
    RecordedLife,
    Socket,
    Thread,
    ThreadEnd,
)
from metta_sandbox.autopsy.words import Exc
from metta_sandbox.timeline.recording import Event

HOSTS = ("sweep-master", "sweep-worker")
SITE = "/usr/lib/python3.11/site-packages"
C10D = f"{SITE}/torch/distributed/distributed_c10d.py"
LEFT = Exc("RuntimeError", "Connection closed by peer", "train.py:23", "main", "all_reduce")


#: Where a thread waits for another one, and at a queue.
JOINS = ("Thread.join", "/usr/lib/python3.11/threading.py", 9, "x")
GETS = ("Queue.get", "/usr/lib/python3.11/queue.py", 9, "x")


def event(name: str, at: float, **fields: Any) -> Event:
    return Event(at, {"event": name, **fields})


def started(ranks: int = 2, trial: int = 2) -> list[Event]:
    return [
        event(
            "rank.started",
            1.0,
            group=f"trial-{trial}",
            rank=rank,
            node=HOSTS[rank % 2],
            process=100 + rank,
        )
        for rank in range(ranks)
    ]


def exited(rank: int, status: int, at: float = 9.0) -> Event:
    return event("rank.exited", at, group="trial-2", rank=rank, node=HOSTS[rank], status=status)


def stepped(rank: int, step: int, loss: float | None = 0.5) -> Event:
    fields = {"group": "trial-2", "trial": 2, "rank": rank, "step": step, "loss": loss}
    return event("train.step", 5.0, node=HOSTS[rank], **fields)


def frames(*calls: tuple[str, str, int, str]) -> tuple[Frame, ...]:
    return tuple(Frame(function=a, file=b, line=c, source=d) for a, b, c, d in calls)


def waits(call: str = "all_reduce", line: int = 23) -> tuple[Frame, ...]:
    mine = ("main", "/work/train.py", line, f"dist.{call}(x)")
    return frames((call, C10D, 1, "work.wait()"), mine)


def at(line: int, source: str) -> tuple[Frame, ...]:
    return frames(("main", "/work/train.py", line, source))


def raised(kind: str, message: str, *calls: Frame) -> Raised:
    return Raised(chain=(RaisedOne(kind=kind, message=message, frames=calls),))


def process(pid: int, stack: tuple[Frame, ...], **fields: Any) -> Process:
    active = bool(fields.pop("active", False))
    moved = False if fields.pop("compared", True) else None
    thread = Thread(name="MainThread", id=pid, active=active, frames=stack, moved=moved)
    return Process(pid=pid, threads=(thread,), **fields)


def looks(*processes: Process) -> dict[str, NodeLook]:
    return {host: NodeLook(processes=(one,)) for host, one in zip(HOSTS, processes, strict=False)}


def case(
    events: Sequence[Event], seen: Mapping[str, NodeLook] | None = None, **fields: Any
) -> Case:
    return Case(HOSTS, 1, tuple(events), trial=2, looks=seen or {}, **fields)


def named(one: Case) -> Cause:
    found = diagnose(one)
    assert found is not None
    return found


@pytest.mark.parametrize("holder_waits", [True, False])
def test_who_has_the_file_open_whose_lock_a_rank_waits_for_is_named(holder_waits: bool) -> None:
    file = "/run/shared/workspace/cache/.lock"
    fd = Fd(number=11, target=file, writes=True)
    wants = process(100, at(12, "fcntl.flock(f, fcntl.LOCK_EX)"), locks=(file,), fds=(fd,))
    stack = waits() if holder_waits else at(9, "time.sleep(9)")
    cause = named(case(started(), looks(wants, process(101, stack, fds=(fd,)))))
    if holder_waits:
        assert (cause.kind, cause.rank, cause.certainty) == ("deadlock", None, "likely")
        assert "for the lock of `.lock`, which rank 1 (sweep-worker) has open" in cause.sentence
        assert "waits for others in `all_reduce`, train.py:23" in cause.sentence
    else:
        assert (cause.kind, cause.rank) == ("straggler", 1)


def test_a_rank_that_stands_still_is_named_and_who_waits_for_it() -> None:
    seen = looks(process(100, waits()), process(101, at(9, "time.sleep(9)")))
    cause = named(case([*started(), stepped(1, 18)], seen))
    assert (cause.kind, cause.rank, cause.node, cause.step) == ("straggler", 1, HOSTS[1], 18)
    assert cause.waiting == (WaitingRank(rank=0, call="`all_reduce`, train.py:23"),)
    assert cause.sentence == (
        "rank 1 (sweep-worker) stands still at train.py:9 in `main`: time.sleep(9) in trial 2 "
        "after train.step 18; rank 0 waits in `all_reduce`, train.py:23"
    )


def test_a_command_that_a_kill_ended_is_what_died_and_not_what_was_left_over() -> None:
    ended = event("command.exited", 29.7, node=HOSTS[1], group="sweep", status=137)
    start = {"RANK": "1", "WORLD_SIZE": "2"}
    life = RecordedLife(pid=101, parent=91, argv=("python", "train.py"), environ=start, started=1.0)
    one = Case(
        HOSTS,
        1,
        (ended,),
        looks=looks(process(100, waits())),
        script=True,
        lives={HOSTS[1]: (life,)},
    )
    cause = named(one)
    assert (cause.rank, cause.kind) == (1, "process died")


def test_a_launcher_that_was_told_to_end_says_by_which_signal() -> None:
    ended = event("command.exited", 9.0, node=HOSTS[1], status=1)
    kind = "torch.distributed.elastic.multiprocessing.api.SignalException"
    error = Exc("", f"{kind}: Process 7 got signal: 15")
    cause = named(case([ended], rollout_errors={HOSTS[1]: error}))
    assert (cause.kind, cause.rank) == ("process died", 1)
    assert "was told to end by SIGTERM, and did so" in cause.sentence


def test_a_rank_at_work_at_the_deadline_of_a_loud_sweep_is_likely_at_most() -> None:
    seen = looks(process(100, waits()), process(101, at(9, "x = x + 1"), active=True))
    assert named(case(started(), seen)).certainty == "certain"
    cause = named(case(started(), seen, cut_short=True))
    assert (cause.rank, cause.certainty) == (1, "likely")


def test_a_rollout_that_waits_for_ranks_that_nobody_saw_is_not_to_blame() -> None:
    trial = "/work/metta_sandbox/node/trial.py"
    stack = frames(
        ("wait", "/usr/lib/python3.11/threading.py", 1, "waiter.acquire()"),
        ("train", trial, 195, "message = workers.next(time.monotonic() + _LOOK)"),
    )
    events = [event("rollout.started", 0.5, node=HOSTS[0], pid=90)]
    cause = named(case(events, looks(process(90, stack))))
    assert (cause.rank, cause.certainty) == (None, "unknown")
    assert "waits for its ranks, of which nothing was seen, at trial.py:195" in cause.sentence


@pytest.mark.parametrize(
    "other",
    [
        (),
        frames(("connect", "/x/metta_sandbox/node/handoff.py", 9, "self._store = dist.TCPStore(")),
    ],
    ids=["alone", "awaited"],
)
def test_a_rollout_whose_template_process_still_imports_has_not_begun(
    other: tuple[Frame, ...],
) -> None:
    imports = frames(
        ("<module>", f"{SITE}/torch/_inductor/utils.py", 784, "class CachedMethod(Protocol):"),
        ("exec_module", "<frozen importlib._bootstrap_external>", 940, ""),
        ("main", "/opt/metta/agent.pyz", 1, ""),
    )
    command = ("python", "/opt/metta/agent.pyz", "template", "--listen=/tmp/t.sock")
    template = process(7, imports, active=True).model_copy(update={"command": command})
    found = {HOSTS[1]: NodeLook(processes=(template,))}
    if other:
        found[HOSTS[0]] = NodeLook(processes=(process(90, other),))
    cause = named(Case(HOSTS, 1, (), looks=found))
    assert (cause.kind, cause.rank, cause.certainty) == ("straggler", 1, "likely")
    assert (
        "the rollout of rank 1 (sweep-worker) has not begun: the template process that it is "
        "forked from is still starting, at an import"
    ) in cause.sentence


def test_a_rollout_whose_stack_cannot_be_read_is_likely_at_most() -> None:
    events = [
        event("rollout.started", 0.5, node=host, pid=90 + rank) for rank, host in enumerate(HOSTS)
    ]
    blind = Process(pid=91, command=("python", "run.py"), threads_problem="py-spy took too long")
    cause = named(case(events, looks(process(90, waits()), blind)))
    assert (cause.rank, cause.certainty) == (1, "likely")


@pytest.mark.parametrize(
    ("guilty", "kind"),
    [
        (process(101, at(9, "lock.acquire()")), "waiting for a lock"),
        (process(101, at(9, "with self._lock:")), "waiting for a lock"),
        (process(101, at(9, "x = x + 1"), active=True), "straggler"),
        (process(101, waits(), state="T"), "stopped"),
    ],
    ids=["acquire", "with", "busy", "stopped"],
)
def test_kinds_of_hanging_are_told_apart(guilty: Process, kind: str) -> None:
    cause = named(case(started(), looks(process(100, waits()), guilty)))
    assert (cause.kind, cause.rank) == (kind, 1)


def test_one_whose_stack_is_missing_is_not_accused() -> None:
    unread = Process(pid=101, command=("python", "t.py"), threads_problem="Permission denied")
    cause = named(case(started(), looks(process(100, waits()), unread)))
    assert (cause.kind, cause.rank, cause.certainty) == ("straggler", None, "unknown")
    assert "the stack of rank 1 (sweep-worker) can't be read (Permission denied)" in cause.sentence
    assert cause.waiting == (WaitingRank(rank=0, call="`all_reduce`, train.py:23"),)


def test_ranks_in_different_collectives_are_a_mismatch() -> None:
    seen = looks(process(100, waits()), process(101, waits("barrier", 29)))
    cause = named(case(started(), seen))
    assert (cause.kind, cause.rank) == ("collective mismatch", 1)
    assert "`barrier`, train.py:29" in cause.sentence
    assert cause.waiting == (WaitingRank(rank=0, call="`all_reduce`, train.py:23"),)


def test_the_same_collective_at_another_line_is_one_too_and_the_one_ahead_is_odd() -> None:
    seen = looks(process(100, waits(line=40)), process(101, waits(line=23)))
    cause = named(case([*started(), stepped(0, 7), stepped(1, 6)], seen))
    assert (cause.kind, cause.rank) == ("collective mismatch", 0)


def test_the_same_collective_with_bytes_nobody_takes_is_an_unreachable_peer() -> None:
    stuck = Socket(local="a:1", remote="b:2", state="established", unsent=512)
    seen = looks(process(100, waits(), sockets=(stuck,)), process(101, waits()))
    cause = named(case(started(), seen))
    assert (cause.kind, cause.rank) == ("peer unreachable", 0)


def test_one_that_ended_well_while_others_need_it_left_something_out() -> None:
    events = [*started(), exited(1, 0), exited(0, 1, 9.5)]
    cause = named(case(events, errors={0: LEFT}))
    assert (cause.kind, cause.rank) == ("collective mismatch", 1)
    assert "rank 0 was left waiting in `all_reduce`, train.py:23" in cause.sentence


def test_a_rank_that_never_came_is_missing_at_the_rendezvous() -> None:
    seen = looks(process(100, waits("init_process_group", 4)))
    events = [*started(1), event("handoff.received", 0.5, node=HOSTS[1], trial=2)]
    cause = named(case(events, seen))
    assert (cause.kind, cause.rank) == ("rank missing at rendezvous", 1)


@pytest.mark.parametrize(
    ("status", "error", "kind", "said"),
    [
        (-9, None, "process died", "was killed by signal 9 (SIGKILL)"),
        (-11, None, "process died", "was killed by signal 11 (SIGSEGV)"),
        (3, None, "process died", "exited with status 3"),
        (1, Exc("ValueError", "no", "t.py:2", "f"), "exception", "raised ValueError: no"),
        (1, Exc("OSError", "[Errno 28] No space left on device"), "disk full", "No space"),
        (1, Exc("RuntimeError", "... EADDRINUSE, port: 29500"), "port taken", "EADDRINUSE"),
        (1, Exc("wandb.errors.CommError", "lost"), "tracker failed", "lost"),
    ],
)
def test_deaths_are_told_apart(status: int, error: Exc | None, kind: str, said: str) -> None:
    errors = {0: LEFT} | ({1: error} if error else {})
    # The one that was left alone is heard of first.
    cause = named(case([*started(), exited(0, 1, 8.0), exited(1, status)], errors=errors))
    assert (cause.kind, cause.rank) == (kind, 1)
    assert said in cause.sentence


@pytest.mark.parametrize("status", [1, -15], ids=["resets both", "told to end"])
def test_who_lost_a_peer_that_did_not_fail_could_not_reach_it(status: int) -> None:
    reset = Exc("RuntimeError", "Connection reset by peer", "train.py:23", "main", "all_reduce")
    errors = {0: reset} | ({1: reset} if status == 1 else {})
    cause = named(case([*started(), exited(0, 1, 8.0), exited(1, status)], errors=errors))

    assert (cause.kind, cause.rank) == ("peer unreachable", 0)
    assert "lost a peer that had not ended: it raised RuntimeError" in cause.sentence


def test_one_whose_end_is_not_known_may_have_failed_by_itself() -> None:
    cause = named(case([*started(), exited(0, 1, 8.0)], errors={0: LEFT}))
    assert cause.kind == "exception"


def test_a_kill_for_want_of_memory_is_the_kernels() -> None:
    seen = {HOSTS[1]: NodeLook(oom_kills=1)}
    cause = named(case([*started(), exited(1, -9)], seen))
    assert (cause.kind, cause.rank) == ("killed by the kernel", 1)


def test_a_kill_for_want_of_memory_is_the_kernels_also_when_nobody_was_there_to_look() -> None:
    killed = event(
        "rank.exited", 9.0, node=HOSTS[1], rank=1, group="trial-2", status=-9, out_of_memory=True
    )
    cause = named(case([*started(), killed, exited(0, 1, 9.5)], errors={0: LEFT}))
    assert (cause.kind, cause.rank) == ("killed by the kernel", 1)


def test_a_lost_node_comes_before_all_that_followed() -> None:
    fallen = {HOSTS[1]: "was killed by signal 9, out of memory"}
    cause = named(case([*started(), exited(0, 1)], fallen=fallen, errors={0: LEFT}))
    assert (cause.kind, cause.rank, cause.node) == ("killed by the kernel", 1, HOSTS[1])


def test_the_first_loss_that_is_no_number_is_named() -> None:
    events = [*started(), stepped(0, 3), stepped(1, 4, None), stepped(0, 4, None)]
    cause = named(case(events))
    assert (cause.kind, cause.rank, cause.step) == ("NaN", 1, 4)


def test_whose_loss_was_lost_a_step_sooner_is_named_though_it_is_heard_later() -> None:
    late = [
        stepped(1, 2),
        stepped(1, 3, math.nan),
        stepped(0, 2, math.nan),
        stepped(0, 3, math.nan),
    ]
    cause = named(case([*started(), *late]))
    assert (cause.kind, cause.rank, cause.step) == ("NaN", 0, 2)


@pytest.mark.parametrize("first", [0, 1])
def test_whose_loss_was_lost_first_is_named_though_another_gives_up_first(first: int) -> None:
    said = Exc("", "the loss is no number")
    ends = [exited(first, 1, 8.0), exited(1 - first, 1, 9.0)]
    lost = {
        0: LostMetric(5, "step 5 loss=nan", named=True),
        1: LostMetric(4, "step 4 loss=nan", named=True),
    }
    cause = named(case([*started(), *ends], errors={0: said, 1: said}, lost=lost))
    assert (cause.kind, cause.rank) == ("NaN", 1)
    assert "no number for a loss at step 4: step 4 loss=nan" in cause.sentence
    assert cause.certainty == ("certain" if first == 1 else "likely")

    # Where all lost theirs at once, nobody was first: whoever gave up first is named.
    alike = dict.fromkeys((0, 1), lost[0])
    cause = named(case([*started(), *ends], errors={0: said, 1: said}, lost=alike))
    assert (cause.kind, cause.rank) == ("NaN", first)


def test_what_a_rank_raised_over_its_loss_is_told_once() -> None:
    said = Exc("AssertionError", "loss is nan at step 9", exact=True)
    lost = {1: LostMetric(9, "[rank1]: AssertionError: loss is nan at step 9", named=True)}
    cause = named(case([*started(), exited(1, 1, 8.0)], errors={1: said}, lost=lost))
    assert cause.rank == 1
    assert cause.sentence.count("loss is nan at step 9") == 1


def test_a_command_s_log_tells_of_the_loss_of_the_one_rank_on_its_node() -> None:
    ends = [exited(0, 1, 8.0), exited(1, 1, 9.0)]
    lost = LostMetric(4, "step 4 loss=nan", named=True)
    said = {rank: Exc("", "the loss is no number") for rank in (0, 1)}
    told = case([*started(), *ends], errors=said, command_lost={HOSTS[0]: lost})
    assert (named(told).kind, named(told).rank) == ("NaN", 0)

    crowd = replace(told, ranks_per_node=2, events=(*started(4), *ends))
    assert crowd.losses == {}


def test_a_rollout_that_raised_has_told_its_rank_to_end() -> None:
    ends = [
        exited(0, -15, 3.0),
        event("command.exited", 4.0, node=HOSTS[0], group="sweep", status=1),
    ]
    broken = Exc("KeyError", "'no such rung'", "search.py:9", "prunes")
    cause = named(case([*started(), *ends], rollout_errors={HOSTS[0]: broken}))
    assert (cause.kind, cause.rank) == ("exception", 0)
    assert "raised KeyError: 'no such rung' in `prunes`, search.py:9" in cause.sentence


def test_a_rollout_that_raised_comes_before_one_that_was_left_alone() -> None:
    ends = [
        event("command.exited", 3.0, node=HOSTS[1], group="sweep", status=1),
        event("command.exited", 4.0, node=HOSTS[0], group="sweep", status=1),
    ]
    refused = Exc("ControlPlaneError", "POST /sweeps/x/runs/next: 503", "leader.py:9", "name")
    cause = named(case(ends, rollout_errors={HOSTS[0]: refused, HOSTS[1]: LEFT}))
    assert (cause.kind, cause.rank) == ("API refused", 0)
    assert "503" in cause.sentence


def test_a_node_that_shows_nothing_while_others_do_stands_still() -> None:
    silent = NodeLook(problem="no answer within 5 s")
    seen = {HOSTS[0]: NodeLook(processes=(process(100, waits()),)), HOSTS[1]: silent}
    cause = named(case([*started(), stepped(1, 3)], seen))
    assert (cause.kind, cause.rank, cause.step) == ("stopped", 1, 3)
    assert cause.waiting == (WaitingRank(rank=0, call="`all_reduce`, train.py:23"),)


def test_a_command_that_is_not_there_while_another_waits_is_missing() -> None:
    store = frames(
        ("__init__", "/x/metta_sandbox/node/handoff.py", 9, "self._store = dist.TCPStore(")
    )
    seen = {HOSTS[0]: NodeLook(processes=(process(50, store),)), HOSTS[1]: NodeLook()}
    cause = named(Case(HOSTS, 1, (), looks=seen))
    assert (cause.kind, cause.rank) == ("rank missing at rendezvous", 1)
    assert "rank 0 waits in `__init__`, handoff.py:9" in cause.sentence


def test_other_overrides_on_a_node_come_before_what_they_led_to() -> None:
    handed = [
        event("handoff.received", 1.0, node=host, trial=2, overrides={"lr": rate, "batch": 8})
        for host, rate in zip(HOSTS, (0.1, 0.5), strict=True)
    ]
    cause = named(case([*handed, *started(), exited(1, 1)]))
    assert (cause.kind, cause.rank) == ("different overrides", 1)
    assert "lr 0.5 instead of 0.1" in cause.sentence
    assert "batch" not in cause.sentence


def test_every_kind_is_explained_in_the_docs() -> None:
    text = (Path(__file__).parents[4] / "docs" / "autopsy.md").read_text()
    kinds = text.partition("## Kinds")[2].partition("\n## ")[0]
    told = re.findall(r"^\| `([^`]+)` \|", kinds, re.MULTILINE)
    assert sorted(told) == sorted(get_args(Kind))


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("sweep: POST http://x:1/stats/training-runs answered 401: not known", "API refused"),
        ("killed by a script", "process died"),
    ],
)
def test_last_words_that_are_no_traceback_are_told_too(words: str, kind: str) -> None:
    end = event("command.exited", 4.0, node=HOSTS[0], group="sweep", status=1)
    cause = named(case([end], rollout_errors={HOSTS[0]: Exc("", words)}))
    assert (cause.kind, cause.rank) == (kind, 0)
    assert f"exited with status 1, saying: {words}" in cause.sentence


def test_nothing_is_made_up() -> None:
    assert diagnose(case([])) is None


def recorded(reason: str) -> Event:
    return event("observation.recorded", 9.5, trial=2, failed=True, reason=reason)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("wandb lost the run: ConnectionResetError: Connection lost", "tracker failed"),
        ("checkpoint.pt: not a checkpoint of this trainer", "exception"),
        ("the score is nan", "NaN"),
        ("[Errno 28] No space left on device", "disk full"),
    ],
)
def test_a_trial_that_all_ranks_ended_well_failed_of_what_its_rollout_says(
    reason: str, kind: str
) -> None:
    ended = [*started(), exited(0, 0), exited(1, 0), recorded(reason)]
    cause = named(case(ended))
    assert (cause.kind, cause.rank, cause.node) == (kind, 0, HOSTS[0])
    assert reason in cause.sentence


def test_what_was_seen_before_a_rank_was_stopped_says_who_waited_where() -> None:
    ended = [*started(), exited(1, -9, 8.0), exited(0, -15, 9.0), recorded("rank 1 was killed")]
    seen = {HOSTS[0]: NodeLook(processes=(process(100, waits()),))}
    cause = named(case(ended, seen))
    assert (cause.kind, cause.rank) == ("process died", 1)
    assert cause.waiting == (WaitingRank(rank=0, call="`all_reduce`, train.py:23"),)
    assert cause.sentence.endswith("; rank 0 waits in `all_reduce`, train.py:23")


def test_last_words_tell_a_kind_or_are_quoted() -> None:
    ended = [*started(), exited(1, 1)]
    diverged = named(case(ended, errors={1: Exc("", "training diverged in step 2: loss nan")}))
    assert (diverged.kind, diverged.rank) == ("NaN", 1)
    left = named(case(ended, errors={1: Exc("", "step 2 done")}))
    assert left.kind == "process died"
    assert "exited with status 1, saying: step 2 done" in left.sentence


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (
            "sweep: http://h:1/x gave no answer in 6 tries over 29.8 s: timed out after 5.0 s",
            "slow",
        ),
        ("sweep: http://h:1/x gave no answer in 9 tries over 9.8 s: ConnectionError", "refused"),
        ("sweep: POST http://h:1/x answered 503 (after 9 tries): no", "refused"),
    ],
)
def test_a_command_that_gave_up_on_the_api_says_whether_it_was_slow(said: str, kind: str) -> None:
    ended = event("command.exited", 9.0, node=HOSTS[0], status=1)
    left = event("command.exited", 9.1, node=HOSTS[1], status=1)
    errors = {HOSTS[0]: Exc("", said), HOSTS[1]: Exc("DistNetworkError", "Connection closed")}
    cause = named(case([ended, left], rollout_errors=errors))
    assert (cause.kind, cause.rank) == (f"API {kind}", 0)


def test_a_rank_that_aborts_over_sizes_of_what_it_got_is_in_another_collective() -> None:
    words = "what():  [enforce fail at pair.cc:456] op.preamble.length <= op.nbytes. 8 vs 4"
    said = Exc("", words, aborted=words)
    events = [*started(), exited(1, -6), exited(0, 1, 9.1)]
    cause = named(case(events, errors={0: LEFT, 1: said}))
    # Whom the backend aborts may be innocent.
    assert (cause.kind, cause.rank, cause.certainty) == ("collective mismatch", None, "unknown")
    assert (
        "rank 1 (sweep-worker) was killed by signal 6 (SIGABRT), saying: what():" in cause.sentence
    )
    assert cause.waiting == (WaitingRank(rank=0, call="`all_reduce`, train.py:23", left=True),)
    killed = named(case([*started(), exited(1, -11)], errors={1: said}))
    assert killed.kind == "process died"


def test_a_run_name_that_an_earlier_trial_had_is_the_cause() -> None:
    names = [event("run.named", 0.1 * trial, trial=trial, run="s.r.1") for trial in (1, 2)]
    cause = named(case([*names, *started(), exited(0, 2), exited(1, 2)]))
    assert (cause.kind, cause.rank) == ("run name repeated", 0)
    assert "gave the run name s.r.1 again, which trial 1 has" in cause.sentence


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        ("sweep-worker refused 'start': no agent of node sweep-worker is connected", "node lost"),
        ("sweep-worker is lost", "node lost"),
        ("sweep-worker did not answer 'start' within 5 s", "stopped"),
    ],
)
def test_a_node_that_shows_nothing_is_gone_or_stands_still(problem: str, kind: str) -> None:
    seen = {HOSTS[0]: NodeLook(), HOSTS[1]: NodeLook(problem=problem)}
    cause = named(case([*started(), stepped(1, 4)], seen))
    assert (cause.kind, cause.rank, cause.node, cause.step) == (kind, 1, HOSTS[1], 4)


def test_a_node_that_is_too_slow_to_be_looked_at_is_not_accused_of_standing_still() -> None:
    slow = NodeLook(problem="not done within 75 s")
    seen = {HOSTS[0]: NodeLook(load=94.8), HOSTS[1]: slow}
    cause = named(case([*started(), stepped(1, 4)], seen))
    assert (cause.kind, cause.rank, cause.certainty) == ("straggler", None, "unknown")
    assert "sweep-worker did not show its processes in time; the machine's load was 95" in (
        cause.sentence
    )


def test_a_rank_that_was_killed_with_its_nodes_command_did_not_fail_by_itself() -> None:
    lost = Exc("RuntimeError", "Connection reset by peer", "train.py:23", "main", "all_reduce")
    command = event("command.exited", 9.1, node=HOSTS[1], group="sweep", status=1)
    ends = [*started(), exited(0, 1, 9.0), command, exited(1, -9, 9.2)]
    assert named(case(ends, errors={0: lost})).kind == "peer unreachable"
    # So is one of which nothing was heard yet.
    assert named(case(ends[:-1], errors={0: lost})).kind == "peer unreachable"
    # One that was killed before has failed first.
    ends = [*started(), exited(0, 1, 9.0), exited(1, -9, 9.05), command]
    cause = named(case(ends, errors={0: lost}))
    assert (cause.kind, cause.rank) == ("process died", 1)


def test_a_node_on_which_what_looks_at_it_is_killed_is_about_to_end() -> None:
    seen = {HOSTS[0]: NodeLook(), HOSTS[1]: NodeLook(problem="it ended with status -9")}
    cause = named(case(started(), seen))
    assert (cause.kind, cause.rank) == ("node lost", 1)


def test_a_command_that_is_about_to_end_of_its_own_error_comes_before_one_that_it_left() -> None:
    ended = event("command.exited", 9.0, node=HOSTS[1], status=1)
    said = "Failed to recv, got 0 bytes. Connection was likely closed. Did the remote crash?"
    left = Exc("torch.distributed.DistNetworkError", said, "handoff.py:9", "_broadcast")
    refused = Exc("ControlPlaneError", "POST http://dummy-api:8081/x answered 503")

    cause = named(case([ended], rollout_errors={HOSTS[0]: refused, HOSTS[1]: left}))
    assert (cause.kind, cause.rank) == ("API refused", 0)
    alone = named(case([ended], rollout_errors={HOSTS[1]: left}))
    assert (alone.rank, alone.certainty) == (None, "unknown")


def test_a_cause_is_one_line_whatever_its_names_hold() -> None:
    said = Exc("ValueError", "one\ntwo", "a\nPASSED all\r\x0bfine.py:3", "f\u2028g")
    cause = named(case([*started(), exited(1, 1)], errors={1: said}))
    assert len(cause.sentence.splitlines()) == 1
    assert "ValueError: one / two in `f / g`, a / PASSED all / fine.py:3" in cause.sentence


def test_a_command_that_ends_as_if_all_were_well_left_the_others_alone() -> None:
    said = "Failed to recv, got 0 bytes. Connection was likely closed. Did the remote crash?"
    left = Exc("torch.distributed.DistNetworkError", said, "handoff.py:9", "_broadcast")
    ended = event("command.exited", 8.9, node=HOSTS[0], status=0)
    failed = event("command.exited", 9.0, node=HOSTS[1], status=1)

    cause = named(case([ended, failed], rollout_errors={HOSTS[1]: left}))
    assert (cause.kind, cause.rank) == ("process died", 0)
    assert "exited with status 0 before the sweep was over" in cause.sentence

    done = event("rollout.finished", 8.8, node=HOSTS[0], completed=1, failed=0)
    cause = named(case([done, ended, failed], rollout_errors={HOSTS[1]: left}))
    assert (cause.rank, cause.certainty) == (None, "unknown")


def test_a_rollout_that_gave_up_on_a_slow_one_is_not_to_blame() -> None:
    ended = event("command.exited", 9.0, node=HOSTS[1], status=1)
    said = "wait timeout after 55000ms, keys: /trial-1/0//cpu//0/0"
    gave_up = Exc("torch.distributed.DistStoreError", said, "handoff.py:128", "_broadcast")
    stack = frames(
        ("_find_and_load", "<frozen importlib._bootstrap>", 1, ""),
        ("start", "/work/run.py", 47, "import wandb"),
    )
    events = [event("rollout.started", 0.5, node=HOSTS[0], pid=90), ended]
    cause = named(case(events, looks(process(90, stack)), rollout_errors={HOSTS[1]: gave_up}))
    assert (cause.kind, cause.rank, cause.certainty) == ("straggler", 0, "likely")
    assert cause.waiting == (WaitingRank(rank=1, call="`_broadcast`, handoff.py:128", left=True),)

    held = frames(
        ("WandbInit.init", "/v/lib/site-packages/wandb/sdk/wandb_init.py", 9, "result.wait()"),
        ("start", "/work/run.py", 48, "wandb.init()"),
    )
    cause = named(case(events, looks(process(90, held)), rollout_errors={HOSTS[1]: gave_up}))
    assert (cause.kind, cause.rank, cause.certainty) == ("tracker failed", 0, "likely")


def test_what_the_served_tracker_answered_is_told_of_who_waits_for_it() -> None:
    held = frames(
        ("WandbInit.init", "/v/lib/site-packages/wandb/sdk/wandb_init.py", 9, "result.wait()"),
        ("main", "/work/train.py", 48, "wandb.init()"),
    )
    waits = frames(
        ("all_reduce", "/v/lib/site-packages/torch/distributed/distributed_c10d.py", 9, ""),
        ("main", "/work/train.py", 50, "dist.all_reduce(x)"),
    )
    answered = [
        event("api.request", 2.0 + call, service="wandb", status=503, call=call) for call in (1, 2)
    ]
    dropped = event("api.request", 5.0, service="wandb", status=None, dropped=True, call=3)
    other = event("api.request", 6.0, service="cogweb", status=500, call=1)
    seen = looks(process(100, held), process(101, waits))

    cause = named(case([*started(), *answered, dropped, other], seen))

    assert (cause.kind, cause.rank) == ("tracker failed", 0)
    assert "; its server answered 503 2 times and closed the connection once" in cause.sentence
    assert "its server" not in named(case([*started(), other], seen)).sentence


def test_a_rank_that_began_after_its_node_was_looked_at_is_not_missing() -> None:
    environ = {"METTA_TRIAL": "2", "RANK": "1"}
    life = RecordedLife(pid=101, argv=("python", "train.py"), environ=environ, started=50.0)
    seen = looks(process(100, waits()))
    seen[HOSTS[1]] = NodeLook(time=49.0)
    late = case([*started()], seen, lives={HOSTS[1]: (life,)})
    assert (found := diagnose(late)) is None or found.rank is None
    seen[HOSTS[1]] = NodeLook(time=51.0)
    assert named(case([*started()], seen, lives={HOSTS[1]: (life,)})).rank == 1


def test_a_command_that_broke_comes_before_a_rank_that_waits_for_the_one_it_would_start() -> None:
    ended = event("command.exited", 9.0, node=HOSTS[1], status=1)
    error = Exc("AgentError", "OSError: [Errno 28] No space left on device: '/x/launcher-1.log'")
    seen = looks(process(100, at(9, "x = x + 1"), active=True))
    cause = named(case([*started(1), ended], seen, rollout_errors={HOSTS[1]: error}))
    assert (cause.kind, cause.rank) == ("disk full", 1)

    # One that was left alone has broken of what another one hangs on.
    left = Exc("RuntimeError", "Connection closed by peer")
    cause = named(case([*started(1), ended], seen, rollout_errors={HOSTS[1]: left}))
    assert (cause.kind, cause.rank) == ("straggler", 0)


def talks(call: str, line: int = 23, **args: int) -> tuple[Frame, ...]:
    told = {name: str(rank) for name, rank in args.items()}
    inner = Frame(function=call, file=C10D, line=1, source="work.wait()", args=told)
    mine = Frame(function="main", file="/work/train.py", line=line, source=f"dist.{call}(x)")
    return (inner, mine)


def test_who_broadcasts_from_another_source_is_told_and_of_two_none_is_accused() -> None:
    seen = looks(process(100, talks("broadcast", src=1)), process(101, talks("broadcast", src=0)))
    cause = named(case(started(), seen))
    assert (cause.kind, cause.rank, cause.certainty) == ("collective mismatch", None, "unknown")
    assert "src 0" in cause.sentence
    assert "src 1" in cause.sentence


def test_all_ranks_in_one_call_accuse_none() -> None:
    seen = looks(process(100, talks("recv", src=1)), process(101, talks("recv", src=0)))
    cause = named(case(started(), seen))
    assert (cause.kind, cause.rank, cause.certainty) == ("deadlock", None, "unknown")
    assert {(one.rank, one.awaited) for one in cause.waits} == {(0, 1), (1, 0)}


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("loss is nan", "NaN"),
        ("loss became NaN at step 4", "NaN"),
        ("got inf", "NaN"),
        ("no review; NaN replies", "exception"),
        ("configs/inf.yaml is empty", "exception"),
        ("tensor does not match the template", "exception"),
        ("Connection refused by the cache", "exception"),
    ],
)
def test_words_count_only_where_they_are_meant(message: str, kind: str) -> None:
    own = Exc("ValueError", message, "t.py:2", "f", calls=("f",), files=("/work/t.py",), exact=True)
    cause = named(case([*started(), exited(1, 1)], errors={1: own}))
    assert (cause.kind, cause.rank) == (kind, 1)


def test_who_went_on_when_most_had_ended_is_odd() -> None:
    hosts = (*HOSTS, "sweep-worker-2")
    begun = [*started(), event("rank.started", 1.0, group="trial-2", rank=2, node=hosts[2])]
    gone = [exited(0, 0), exited(1, 1)]
    gone.append(event("rank.exited", 9.0, group="trial-2", rank=2, node=hosts[2], status=0))
    three = Case(hosts, 1, (*begun, *gone), trial=2, errors={1: LEFT})
    cause = named(three)
    assert (cause.kind, cause.rank) == ("collective mismatch", 1)
    assert "went on to `all_reduce`, train.py:23 when 2 other ranks had ended" in cause.sentence


def test_of_two_the_one_that_waits_for_a_message_is_odd() -> None:
    seen = looks(process(100, talks("recv", 9, src=1)), process(101, waits("all_reduce", 50)))
    cause = named(case(started(), seen))
    assert (cause.kind, cause.rank, cause.certainty) == ("collective mismatch", 0, "likely")


def test_what_a_rank_was_at_when_its_launcher_ended_it_is_known_by_its_own_record() -> None:
    told = Exc("RuntimeError", "Timed out waiting 5000ms for recv", "t.py:9", call="all_reduce")
    life = RecordedLife(
        pid=100, environ={"METTA_TRIAL": "2", "RANK": "0"}, terminated=at(44, ""), ended=9.0
    )
    ends = [*started(), exited(0, -15, 9.1), exited(1, 1, 9.0)]
    cause = named(case(ends, errors={1: told}, lives={HOSTS[0]: (life,)}))
    assert (cause.kind, cause.rank) == ("straggler", 0)
    assert "stands still at train.py:44 in `main` until SIGTERM ended it" in cause.sentence


def test_a_thread_that_a_main_thread_joins_and_that_waits_for_an_ended_one_is_followed() -> None:
    def thread(name: str, number: int, *calls: tuple[str, str, int, str]) -> Thread:
        return Thread(name=name, id=number, frames=frames(*calls))

    joins = thread(
        "MainThread",
        101,
        JOINS,
        ("main", "/work/train.py", 50, "trainer.join()"),
    )
    gets = thread(
        "fit",
        102,
        GETS,
        ("fit", "/work/train.py", 71, "value = ready.get()"),
    )
    one = Process(pid=101, threads=(joins, gets))
    ended = raised("TypeError", "no", Frame(function="read", file="/w/r.py", line=6))
    life = RecordedLife(pid=101, threads=(ThreadEnd(name="reader", exception=ended),))
    seen = looks(process(100, waits()), one)
    cause = named(case(started(), seen, lives={HOSTS[1]: (life,)}))
    assert (cause.kind, cause.rank) == ("exception", 1)
    assert "thread `reader` has ended with TypeError: no in `read`, r.py:6" in cause.sentence

    alone = named(case(started(), seen))
    assert (alone.kind, alone.rank) == ("waiting for a lock", 1)
    assert "waits at train.py:71 in `fit`: value = ready.get(), for nobody" in alone.sentence


def test_one_told_to_end_at_a_line_without_its_text_is_shown_with_its_other_threads() -> None:
    told = Exc("RuntimeError", "Timed out waiting 5000ms for recv", "t.py:9", call="all_reduce")
    life = RecordedLife(
        pid=100,
        environ={"METTA_TRIAL": "2", "RANK": "0"},
        terminated=at(44, ""),
        beside=(frames(("flush", "/work/train.py", 79, ""), ("run", "/work/train.py", 60, "")),),
        ended=9.0,
    )
    ends = [*started(), exited(0, -15, 9.1), exited(1, 1, 9.0)]
    cause = named(case(ends, errors={1: told}, lives={HOSTS[0]: (life,)}))
    assert (cause.kind, cause.rank) == ("straggler", 0)
    assert "at train.py:44 in `main` beside a thread at train.py:79 in `flush`" in cause.sentence


def test_a_thread_at_the_store_is_joined_rather_than_one_that_sleeps_beside_it() -> None:
    def rank(pid: int, *threads: tuple[Frame, ...]) -> Process:
        joins = frames(
            JOINS,
            ("main", "/work/train.py", 110, "trainer.join()"),
        )
        names = ("MainThread", "reader", "fit")
        told = zip(names, (joins, *threads), strict=True)
        each = (Thread(name=n, id=pid + k, frames=stack) for k, (n, stack) in enumerate(told))
        return Process(pid=pid, threads=tuple(each))

    idles, sleeps = at(53, "time.sleep(0.005)"), at(57, "select.select([], [], [])")
    stores, locks = at(57, "run.store.wait(everyone)"), at(63, "with self.lock:")
    seen = looks(rank(100, idles, stores), rank(101, sleeps, locks))
    cause = named(case(started(), seen))
    assert (cause.kind, cause.rank) == ("straggler", 1)
    assert "thread `reader`, which stands still at train.py:57" in cause.sentence


def _started_third(node: str) -> Event:
    return event("rank.started", 1.0, group="trial-2", rank=2, node=node, process=102)


def test_one_that_was_raising_when_it_was_told_to_end_was_at_nothing_that_is_known() -> None:
    said = Exc("RuntimeError", "Timed out waiting 5000ms for send", "t.py:39", call="all_gather")
    entered = Collective(group="1", number=4, name="all_gather", group_ranks=(0, 1, 2))
    told = frames(("note", "metta_sandbox/node/agent/recorder/life.py", 168, ""))
    joins = frames(
        ("join", "/usr/lib/python3.11/threading.py", 9, ""), ("train", "/w/t.py", 104, "")
    )
    hosts = (*HOSTS, "sweep-worker-2")
    lives: dict[str, tuple[RecordedLife, ...]] = {}
    events = [*started(), _started_third(hosts[2])]
    for rank, status in ((0, -15), (1, 1), (2, -15)):
        environ = {"METTA_TRIAL": "2", "RANK": str(rank)}
        stacks: dict[str, Any] = {"terminated": joins, "beside": (told,)} if status < 0 else {}
        done = () if status < 0 else (entered,)
        record = Recorded(entries=(entered.model_copy(update={"number": 3}), *done))
        life = RecordedLife(pid=100 + rank, environ=environ, recorded=record, **stacks)
        lives[hosts[rank]] = (life,)
        end: dict[str, Any] = {
            "group": "trial-2",
            "rank": rank,
            "node": hosts[rank],
            "status": status,
        }
        events.append(event("rank.exited", 9.0, **end))
    cause = named(Case(hosts, 1, tuple(events), trial=2, errors={1: said}, lives=lives))
    assert (cause.kind, cause.rank, cause.certainty) == ("collective mismatch", 1, "likely")
    assert "went on to `all_gather`, t.py:39 when the others had not come there" in cause.sentence


def test_one_whose_call_of_the_store_broke_is_what_another_one_waited_for() -> None:
    ddp = Exc("RuntimeError", "Timed out waiting 5000ms for send", "s.py:34", call="forward")
    lost = Exc("torch.distributed.DistNetworkError", "Connection was likely closed", "t.py:63")
    lives: dict[str, tuple[RecordedLife, ...]] = {}
    for rank, number in ((0, 5), (1, 4)):
        entered = Collective(group="1", number=number, name="broadcast", group_ranks=(0, 1))
        environ = {"METTA_TRIAL": "2", "RANK": str(rank)}
        record = Recorded(entries=(entered,))
        lives[HOSTS[rank]] = (RecordedLife(pid=100 + rank, environ=environ, recorded=record),)
    ends = [*started(), exited(0, 1, 9.0), exited(1, 1, 9.1)]
    cause = named(case(ends, errors={0: ddp, 1: lost}, lives=lives))
    assert (cause.rank, cause.certainty) == (1, "likely")
    assert "did not come to where the others waited for it; it was at t.py:63" in cause.sentence


def test_ranks_that_all_stand_at_one_line_may_wait_for_the_one_that_ended_well() -> None:
    hosts = (*HOSTS, "sweep-worker-2")
    begun = [*started(), _started_third(hosts[2])]
    polls = at(49, "time.sleep(0.02)")
    seen = looks(process(101, polls), process(102, polls))
    events = (*begun, exited(0, 0))
    looked = {hosts[1]: seen[HOSTS[0]], hosts[2]: seen[HOSTS[1]]}
    cause = named(Case(hosts, 1, events, trial=2, looks=looked))
    assert (cause.kind, cause.rank, cause.certainty) == ("collective mismatch", 0, "likely")
    assert (
        "ended with status 0, while each of rank 1, rank 2 sleeps again and again" in cause.sentence
    )


def test_a_lock_taken_by_with_is_held_by_a_live_thread_and_not_by_one_that_ended() -> None:
    main = frames(("add", "/work/train.py", 72, "with self.lock:"))
    holds = frames(("flush", "/work/train.py", 66, "time.sleep(4)"))
    threads = (
        Thread(name="MainThread", id=101, frames=main),
        Thread(name="io-1", id=102, frames=holds),
    )
    life = RecordedLife(
        pid=101, threads=(ThreadEnd(name="beat", exception=raised("ValueError", "no")),)
    )
    seen = looks(process(100, waits()), Process(pid=101, threads=threads))
    cause = named(case(started(), seen, lives={HOSTS[1]: (life,)}))
    assert (cause.kind, cause.rank) == ("straggler", 1)
    assert "thread `io-1`, which stands still at train.py:66" in cause.sentence


def test_one_that_ended_first_by_sigterm_was_not_told_to_end_by_its_launcher() -> None:
    ends = [*started(), exited(1, -15, 8.0), exited(0, 1, 9.0)]
    cause = named(case(ends, errors={0: LEFT}))
    assert (cause.kind, cause.rank) == ("process died", 1)
    assert "signal 15 (SIGTERM)" in cause.sentence


def test_whom_the_backend_aborts_in_a_collective_is_not_accused_whatever_its_log_says() -> None:
    life = RecordedLife(
        pid=101, environ={"METTA_TRIAL": "2", "RANK": "1"}, fatal=waits(), ended=8.0
    )
    ends = [*started(), exited(1, -6, 8.0), exited(0, 1, 9.0)]
    survived = Exc("EOFError", "", "t.py:3", "read", files=("/work/t.py",))
    cause = named(case(ends, errors={0: LEFT, 1: survived}, lives={HOSTS[1]: (life,)}))
    assert (cause.kind, cause.rank, cause.certainty) == ("collective mismatch", None, "unknown")


def test_innocent_last_words_of_one_that_exited_are_not_why_it_ended() -> None:
    said = Exc("", "warnings: 0, nan-safe: True, Connection closed by peer: never")
    events = [*started(), exited(1, 2, 9.0), exited(0, 1, 9.5)]
    cause = named(case(events, errors={0: LEFT, 1: said}))
    assert (cause.kind, cause.rank) == ("process died", 1)
    assert "exited with status 2" in cause.sentence


def test_all_threads_that_were_lost_are_told_to_who_waits_for_one_of_them() -> None:
    ends = (
        ThreadEnd(name="beat", exception=raised("OSError", "no telemetry")),
        ThreadEnd(name="reader", exception=raised("KeyError", "'row'")),
    )
    gets = frames(GETS, ("main", "/work/train.py", 71, "row = ready.get()"))
    seen = looks(process(100, waits()), process(101, gets))
    life = RecordedLife(pid=101, threads=ends)
    cause = named(case(started(), seen, lives={HOSTS[1]: (life,)}))
    assert cause.rank == 1
    assert "its thread `reader` has ended with KeyError: 'row'" in cause.sentence
    assert "its thread `beat` has ended with OSError: no telemetry" in cause.sentence


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("RuntimeError", "DataLoader worker (pid(s) 22) exited unexpectedly"),
        ("ConnectionResetError", "[Errno 104] Connection reset by peer"),
    ],
)
def test_the_signal_that_ended_a_data_loaders_worker_is_told_where_what_was_raised_does_not(
    kind: str, message: str
) -> None:
    loader = f"{SITE}/torch/utils/data/dataloader.py"
    stack = frames(("_try_get_data", loader, 1291, ""), ("main", "/work/train.py", 25, ""))
    said = Raised(chain=(RaisedOne(kind=kind, message=message, frames=stack),))
    # The other worker is told to end at its parent's end.
    reaped = tuple(Reaped(pid=pid, status=status) for pid, status in ((21, -15), (22, -9)))
    life = RecordedLife(pid=101, exception=said, reaped=reaped, ended=9.0)
    cause = named(case([*started(), exited(1, 1)], errors={0: LEFT}, lives={HOSTS[1]: (life,)}))
    assert cause.rank == 1
    assert (
        f"raised {kind}: {message}, as its data loader's worker was killed by signal 9 (SIGKILL)"
    ) in cause.sentence


def test_an_exit_after_a_thread_was_lost_is_told_with_it() -> None:
    ended = ThreadEnd(name="beat", exception=raised("OSError", "no telemetry"))
    life = RecordedLife(pid=101, threads=(ended,), exits=2, ended=9.0)
    events = [*started(), exited(1, 2, 9.0), exited(0, 1, 9.5)]
    cause = named(case(events, errors={0: LEFT}, lives={HOSTS[1]: (life,)}))
    assert cause.rank == 1
    assert "raised OSError: no telemetry" in cause.sentence
    assert "in its thread `beat`, and then exited with status 2" in cause.sentence


def test_who_sleeps_a_moment_and_was_seen_only_once_is_not_certain_to_stand_still() -> None:
    seen = looks(process(100, waits()), process(101, at(9, "time.sleep(9)"), compared=False))
    assert named(case(started(), seen)).certainty == "likely"
    polls = looks(process(100, waits()), process(101, at(9, "time.sleep(0.02)")))
    cause = named(case(started(), polls))
    assert (cause.rank, cause.certainty) == (1, "likely")
    assert "sleeps again and again at train.py:9" in cause.sentence


@pytest.mark.parametrize("line", ["time.sleep(0.02)", "while not path.exists():"])
@pytest.mark.parametrize("moves", [True, False])
def test_who_waits_at_the_store_counts_before_one_that_looks_again_and_again(
    line: str, *, moves: bool
) -> None:
    key = at(65, 'store.wait(["ready"])')
    polls = Thread(name="MainThread", id=101, frames=at(40, line), moved=moves)
    seen = looks(process(100, key), Process(pid=101, threads=(polls,)))
    cause = named(case(started(), seen))
    assert (cause.rank, cause.certainty) == (0, "likely")
    assert "`store.wait`" in cause.sentence


def test_of_two_threads_the_one_that_does_not_just_look_again_and_again_counts() -> None:
    main = frames(JOINS, ("main", "/work/train.py", 50, "fit.join()"))
    threads = (
        Thread(name="MainThread", id=101, frames=main, moved=False),
        Thread(name="beat", id=102, frames=at(47, "time.sleep(0.005)"), moved=False),
        Thread(name="fit", id=103, frames=at(58, "time.sleep(3600)"), moved=False),
    )
    cause = named(case(started(), looks(process(100, waits()), Process(pid=101, threads=threads))))
    assert (cause.rank, cause.certainty) == (1, "certain")
    assert "thread `fit`, which stands still at train.py:58" in cause.sentence


def test_a_thread_that_is_joined_and_waits_itself_counts_before_one_that_polls() -> None:
    main = frames(JOINS, ("main", "/work/train.py", 50, "fit.join()"))
    fit = frames(GETS, ("fit", "/work/train.py", 57, "row = ready.get()"))
    threads = (
        Thread(name="MainThread", id=101, frames=main, moved=False),
        Thread(name="beat", id=102, frames=at(47, "time.sleep(0.005)"), moved=False),
        Thread(name="fit", id=103, frames=fit, moved=False),
    )
    cause = named(case(started(), looks(process(100, waits()), Process(pid=101, threads=threads))))
    assert (cause.kind, cause.rank) == ("waiting for a lock", 1)
    assert "thread `fit`, which waits at train.py:57 in `fit`: row = ready.get()" in cause.sentence
    assert "beside thread `beat`, which polls at train.py:47" in cause.sentence


@pytest.mark.parametrize("waits_itself", [False, True])
def test_of_threads_that_poll_the_one_that_has_entered_collectives_counts(
    *, waits_itself: bool
) -> None:
    main = frames(JOINS, ("main", "/work/train.py", 50, "fit.join()"))
    fits = ("fit", "/work/train.py", 70, "one_step(step)")
    fit = frames(("one_step", "/work/train.py", 49, "time.sleep(0.02)"), fits)
    threads = [
        Thread(name="MainThread", id=101, frames=main, moved=False),
        Thread(name="beat", id=102, frames=at(47, "time.sleep(0.005)"), moved=False),
        Thread(name="fit", id=103, frames=fit, moved=False),
    ]
    if waits_itself:
        reads = frames(GETS, ("read", "/work/train.py", 57, "row = ready.get()"))
        threads.append(Thread(name="read", id=104, frames=reads, moved=False))
    entered = frames(("reduce", "/work/train.py", 33, "dist.all_reduce(x)"), fits)
    recorded = Recorded(
        entries=(Collective(group="0", number=1, name="all_reduce", stack=0),), stacks=(entered,)
    )
    polls = Process(pid=101, threads=tuple(threads), recorded=recorded)
    cause = named(case(started(), looks(process(100, waits()), polls)))
    assert cause.rank == 1
    assert "thread `fit`, which sleeps again and again at train.py:49" in cause.sentence


def test_a_thread_that_has_a_lock_of_logging_is_told_to_who_waits_for_it() -> None:
    acquires = ("Handler.acquire", "/usr/lib/python3.11/logging/__init__.py", 9)
    main = frames((*acquires, "self.lock.acquire()"), ("main", "/work/train.py", 50, "log.info(1)"))
    sends = frames(("emit", "/work/remote.py", 12, "time.sleep(3600)"))
    threads = (
        Thread(name="MainThread", id=101, frames=main, moved=False),
        Thread(name="sender", id=102, frames=sends, moved=False),
    )
    cause = named(case(started(), looks(process(100, waits()), Process(pid=101, threads=threads))))
    assert cause.rank == 1
    assert "its thread `sender`, which stands still at remote.py:12" in cause.sentence
    assert "its main thread waits at train.py:50" in cause.sentence


def test_a_child_that_can_not_end_as_nobody_takes_from_its_queue_is_told() -> None:
    library = "/usr/lib/python3.11/multiprocessing"
    joins = frames(
        ("BaseProcess.join", f"{library}/process.py", 9, "res = self._popen.wait(timeout)"),
        ("main", "/work/train.py", 50, "child.join()"),
    )
    ends = frames(
        ("Thread.join", "/usr/lib/python3.11/threading.py", 9, "self._wait_for_tstate_lock()"),
        ("Queue._finalize_join", f"{library}/queues.py", 9, "thread.join()"),
        ("BaseProcess.start", f"{library}/process.py", 9, "self._popen = self._Popen(self)"),
        ("main", "/work/train.py", 48, "child.start()"),
    )
    stopped = NodeLook(
        processes=(
            process(101, joins, command=("python", "train.py")),
            process(102, ends, command=("python", "train.py"), parent=101),
        )
    )
    seen = {**looks(process(100, waits())), HOSTS[1]: stopped}
    cause = named(case(started(), seen))
    assert cause.rank == 1
    assert "waits for somebody to take what it has put into a queue" in cause.sentence
    assert "its main thread waits at train.py:50" in cause.sentence
    assert "train.py:48" not in cause.sentence


def test_who_is_at_work_counts_before_one_that_looks_again_and_again() -> None:
    busy = Thread(name="MainThread", id=100, frames=at(98, "x = x + 1"), moved=True)
    polls = process(101, at(49, "time.sleep(0.02)"))
    cause = named(case(started(), looks(Process(pid=100, threads=(busy,)), polls)))
    assert (cause.rank, cause.certainty) == (0, "likely")
    assert "is still at work at train.py:98" in cause.sentence


def test_the_thread_that_waits_for_a_child_is_told_beside_the_main_one() -> None:
    waits_for_child = ("Popen.wait", "/usr/lib/python3.11/subprocess.py", 9, "x")
    threads = (
        Thread(
            name="MainThread", id=101, frames=frames(JOINS, ("main", "/w/train.py", 50, "t.join()"))
        ),
        Thread(
            name="fit",
            id=102,
            frames=frames(waits_for_child, ("pack", "/w/train.py", 38, "subprocess.run(pack)")),
        ),
    )
    parent = Process(pid=101, command=("python", "train.py"), threads=threads)
    child = Process(pid=102, parent=101, state="S", command=("sleep", "4000"), name="sleep")
    seen = {**looks(process(100, waits())), HOSTS[1]: NodeLook(processes=(parent, child))}
    cause = named(case(started(), seen))
    assert cause.rank == 1
    expected = "; its main thread waits at train.py:50, and its thread `fit` at train.py:38"
    assert expected in cause.sentence


def test_a_thread_that_was_lost_is_not_why_a_rank_was_told_to_end() -> None:
    ended = ThreadEnd(name="beat", exception=raised("OSError", "no telemetry"))
    life = RecordedLife(pid=100, threads=(ended,), terminated=at(54, ""), ended=9.5)
    events = [*started(), exited(1, 1, 9.0), exited(0, -15, 9.5)]
    cause = named(case(events, errors={1: LEFT}, lives={HOSTS[0]: (life,)}))
    assert (cause.kind, cause.rank, cause.certainty) == ("straggler", 0, "likely")
    assert "stands still at train.py:54" in cause.sentence
    assert "and its thread `beat` has ended with OSError: no telemetry" in cause.sentence


@pytest.mark.parametrize("polls", [False, True])
def test_a_thread_that_waits_for_a_child_that_waits_for_it_is_told_with_both_lines(
    *, polls: bool
) -> None:
    receives = ("_recv", "/usr/lib/python3.11/multiprocessing/connection.py", 9, "x")
    main = frames(JOINS, ("main", "/w/train.py", 50, "fit.join()"))
    asks = frames(receives, ("ask", "/w/train.py", 59, "value = here.recv()"))
    serves = frames(receives, ("serve", "/w/train.py", 53, "number = there.recv()"))
    python = ("python", "train.py")
    threads = (
        Thread(name="MainThread", id=101, frames=main, moved=False),
        Thread(name="fit", id=102, frames=asks, moved=False),
    )
    beat = Thread(name="beat", id=103, frames=at(47, "time.sleep(0.005)"), moved=False)
    parent = Process(pid=101, command=python, threads=(*threads, beat) if polls else threads)
    node = NodeLook(processes=(parent, process(109, serves, parent=101, command=python)))
    cause = named(case(started(), {**looks(process(100, waits())), HOSTS[1]: node}))
    assert cause.rank == 1
    assert "waits for its child 109, python train.py, which waits at train.py:53" in cause.sentence
    assert "for what its parent sends" in cause.sentence
    assert ("beside thread `beat`, which polls at train.py:47" in cause.sentence) is polls
    assert "main thread waits at train.py:50, and its thread `fit` at train.py:59" in cause.sentence


def test_a_live_thread_that_sleeps_counts_before_one_that_was_lost() -> None:
    main = frames(GETS, ("main", "/w/train.py", 53, "row = ready.get()"))
    threads = (
        Thread(name="MainThread", id=101, frames=main, moved=False),
        Thread(name="reader", id=102, frames=at(48, "time.sleep(3600)"), moved=False),
    )
    ended = ThreadEnd(name="beat", exception=raised("OSError", "no telemetry"))
    life = RecordedLife(pid=101, threads=(ended,))
    seen = looks(process(100, waits()), Process(pid=101, threads=threads))
    cause = named(case(started(), seen, lives={HOSTS[1]: (life,)}))
    assert (cause.kind, cause.rank) == ("straggler", 1)
    assert "its thread `reader`, which stands still at train.py:48" in cause.sentence
    assert "and its thread `beat` has ended with OSError: no telemetry" in cause.sentence


def test_one_alone_that_polls_counts_before_all_others_at_the_store() -> None:
    hosts = (*HOSTS, "sweep-worker-2")
    key = at(59, "store.wait(everyone)")
    polls = process(100, at(51, "time.sleep(0.02)"))
    looked = {
        **looks(polls, process(101, key)),
        hosts[2]: NodeLook(processes=(process(102, key),)),
    }
    events = (*started(), _started_third(hosts[2]))
    cause = named(Case(hosts, 1, events, trial=2, looks=looked))
    assert (cause.rank, cause.certainty) == (0, "likely")
    assert "sleeps again and again at train.py:51" in cause.sentence
