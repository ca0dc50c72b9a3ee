"""What is put into the interpreter of a rank, so that a fault can strike inside its code.

The trainer knows nothing of it. The launcher names the ranks in ``METTA_INJECT``; each of those
gets this module before its own code runs, through a ``sitecustomize`` that is found first and then
hands on to the one it hid, or, where ranks are forked, by a call. It waits on a thread of its own
for orders that come through the node's agent, counts the steps of whatever optimizers torch has by
torch's public global hook, and tells what happened as ``fault.happened``.

What must happen in the trainer's main thread comes there as the interpreter's own pending call
(``Py_AddPendingCall``) or asynchronous exception (``PyThreadState_SetAsyncExc``); see
https://docs.python.org/3/c-api/init.html.
"""

import os
import sys
import threading
import time
from typing import Any, Callable, List, Mapping, Optional, Tuple

from metta_sandbox.node.agent.emitter import Emitter, identity
from metta_sandbox.node.agent.events import FaultHappened, OptimizerStep
from metta_sandbox.node.agent.injection.clock import Clock, read_clocks
from metta_sandbox.node.agent.injection.hook import VARIABLE, is_meant
from metta_sandbox.node.agent.messages import InjectorHello, Obeyed, Order, Seen, SentOrder
from metta_sandbox.node.agent.recorder.after_import import after_import
from metta_sandbox.node.agent.wire import LineReader, decode, dial, encode

try:
    import ctypes
except ImportError:  # an interpreter built without libffi: orders that need it are refused
    ctypes = None  # type: ignore[assignment]

_OPTIMIZER = "torch.optim.optimizer"
#: What a process group is asked for, of which one may be left out.
_COLLECTIVES = (
    *("allreduce", "broadcast", "allgather", "_allgather_base", "reduce", "gather", "scatter"),
    *("reduce_scatter", "_reduce_scatter_base", "alltoall", "alltoall_base", "barrier"),
)
#: Seconds between two looks at whether the program has begun.
_LOOK = 0.005
#: Seconds that a thread with nothing to wait for sleeps in one go.
_LONG = 10**6

#: Bytes of memory that are taken in one go.
_CHUNK = 16 << 20

#: What must live as long as the process.
_KEPT: List[Any] = []

Then = Optional[Callable[[], None]]


def enter() -> None:
    """Begin to wait for orders, if this process is one of the ranks that ``METTA_INJECT`` names."""
    if not is_meant(os.environ) or "METTA_EVENTS" not in os.environ:
        return
    os.environ.pop(VARIABLE)
    injection = Injection(os.environ)
    _KEPT.append(injection)
    injection.begin()


class Injection:
    """Takes orders for one rank.

    Args:
        environ: The rank's.

    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._rank = int(environ["RANK"])
        self._emitter = Emitter(identity(environ), environ["METTA_EVENTS"])
        self._channel = dial(environ["METTA_EVENTS"])
        self._main = threading.main_thread()
        self._steps = 0
        self._poison: List[str] = []
        self._skip: List[str] = []
        self._skipping = False
        self._clock = Clock()

    def begin(self) -> None:
        """Say that this rank takes orders, and take them on a thread."""
        about: InjectorHello = {"type": "injector", "rank": self._rank, "pid": os.getpid()}
        self._channel.sendall(encode(about))
        os.register_at_fork(after_in_child=self._channel.close)
        after_import(_OPTIMIZER, self._count_steps)
        threading.Thread(target=self._serve, name="metta-injection", daemon=True).start()

    def _serve(self) -> None:
        reader = LineReader()
        # What is raised while the interpreter starts up is swallowed there.
        while not self._has_begun():
            time.sleep(_LOOK)
        while True:
            try:
                data = self._channel.recv(65536)
            except OSError:
                return
            if not data:
                return
            for line in reader.feed(data):
                order: SentOrder = decode(line)
                then: Then = None
                try:
                    result, then = self._obey(order)
                except Exception as error:  # noqa: BLE001 - whoever ordered hears of it
                    result = {"error": f"{type(error).__name__}: {error}"}
                answer: Obeyed = {"type": "obeyed", "id": order["id"], "result": result}
                self._channel.sendall(encode(answer))
                if then is not None:
                    then()

    def _has_begun(self) -> bool:
        """Tell whether the main thread runs a program, and not yet what comes before one."""
        frame = sys._current_frames().get(self._main.ident or 0)  # noqa: SLF001 - documented
        while frame is not None and frame.f_back is not None:
            frame = frame.f_back
        return frame is not None and "importlib" not in frame.f_code.co_filename

    def _obey(self, order: Order) -> Tuple[Seen, Then]:
        """Follow an order; returns the answer, and what is to be done once it was sent."""
        verb, fault = order["do"], order.get("fault", "")
        if verb == "look":
            return {"main": self._place()}, None
        ends = self._ends(order, fault)
        if ends is not None:
            return {}, ends
        if verb == "clock":
            self._set_clock(fault, order["ahead"])
        elif verb == "clocks":
            return read_clocks(), None
        elif verb == "sleep":
            self._in_main_thread(lambda: self._sleep_for_ever(fault))
        elif verb == "hold_gil":
            self._in_main_thread(lambda: self._hold_the_lock(fault))
        elif verb == "nan_gradients":
            if _OPTIMIZER not in sys.modules:
                raise LookupError("this rank has not imported torch.optim")
            self._poison.append(fault)
        elif verb == "skip_collective":
            self._skip_next(fault)
        else:
            raise LookupError(f"unknown order {verb!r}")
        return {}, None

    def _set_clock(self, fault: str, ahead: int) -> None:
        self._clock.set_ahead(ahead)
        if ahead:
            self._emitter.tell(FaultHappened(fault=fault, ahead=ahead))

    def _ends(self, order: Order, fault: str) -> Then:
        """Return what ends the process or its program, to be called once the order was answered."""
        verb = order["do"]
        if verb == "raise":
            return lambda: self._raise(fault, order["exception"], order["message"])
        if verb == "exit":
            return lambda: self._exit(fault, order["status"])
        if verb == "segfault":
            return lambda: self._segfault(fault)
        if verb == "out_of_memory":
            taken = threading.Event()
            self._emitter.tell(FaultHappened(fault=fault, takes=order["at_most"]))
            # The trainer must not come to its end before its memory does. From here on it may
            # stand still with a lock of its own, of ours too, so all is told before.
            self._in_main_thread(taken.wait)
            return lambda: self._exhaust_memory(order["at_most"], taken)
        return None

    def _place(self) -> str:
        """Say where the main thread is, as ``function, file:line``."""
        frame = sys._current_frames().get(self._main.ident or 0)  # noqa: SLF001 - documented
        if frame is None:
            return "nowhere"
        code = frame.f_code
        return f"{code.co_name}, {code.co_filename}:{frame.f_lineno}"

    def _raise(self, fault: str, name: str, message: str) -> None:
        import builtins  # noqa: PLC0415 - only here

        base = getattr(builtins, name)

        def made(self_: BaseException) -> None:
            base.__init__(self_, message)
            self._emitter.tell(FaultHappened(fault=fault, raised=name, at=_caller()))

        # It is made without arguments, by the thread that it is raised in.
        kind = type(name, (base,), {"__init__": made, "__module__": "builtins"})
        _KEPT.append(kind)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(self._main.ident or 0), ctypes.py_object(kind)
        )

    def _exit(self, fault: str, status: int) -> None:
        self._emitter.tell(FaultHappened(fault=fault, exits=status))
        os._exit(status)

    def _segfault(self, fault: str) -> None:
        self._emitter.tell(FaultHappened(fault=fault, reads="address 0"))
        ctypes.string_at(0)

    def _exhaust_memory(self, at_most: int, taken: threading.Event) -> None:
        import mmap  # noqa: PLC0415 - only here

        _offer_to_be_killed()
        # In one mapping: the kernel can't take back at once what a process is still mapping.
        memory = mmap.mmap(-1, at_most, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        _KEPT.append(memory)
        written = b"x" * _CHUNK
        for _ in range(at_most // _CHUNK):
            memory.write(written)
        taken.set()

    def _in_main_thread(self, act: Callable[[], object]) -> None:
        def run(_argument: object) -> int:
            act()
            return 0

        pending = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(run)
        _KEPT.append(pending)
        if ctypes.pythonapi.Py_AddPendingCall(pending, None) != 0:
            raise RuntimeError("the main thread has too many pending calls")

    def _sleep_for_ever(self, fault: str) -> None:
        self._emitter.tell(FaultHappened(fault=fault, sleeps="for ever"))
        self._emitter.finish()
        while True:
            time.sleep(_LONG)

    def _hold_the_lock(self, fault: str) -> None:
        self._emitter.tell(FaultHappened(fault=fault, holds="the interpreter's lock"))
        self._emitter.finish()
        sleep = ctypes.PyDLL(None).sleep
        while True:
            sleep(_LONG)

    def _count_steps(self) -> None:
        sys.modules[_OPTIMIZER].register_optimizer_step_pre_hook(self._before_step)

    def _before_step(self, optimizer: Any, _args: object, _kwargs: object) -> None:
        self._steps += 1
        self._emitter.tell_if_armed(OptimizerStep(step=self._steps))
        while self._poison:
            gradients = [
                parameter.grad
                for group in optimizer.param_groups
                for parameter in group["params"]
                if parameter.grad is not None
            ]
            if not gradients:
                return
            before = sum(int(each.isnan().any()) for each in gradients)
            for gradient in gradients:
                gradient.fill_(float("nan"))
            now = sum(int(each.isnan().any()) for each in gradients)
            self._emitter.tell(
                FaultHappened(
                    fault=self._poison.pop(0),
                    step=self._steps,
                    gradients=len(gradients),
                    nan_before=before,
                    nan=now,
                )
            )

    def _skip_next(self, fault: str) -> None:
        distributed: Any = sys.modules.get("torch.distributed")
        if distributed is None:
            raise LookupError("this rank has not imported torch.distributed")
        self._skip.append(fault)
        if self._skipping:
            return
        self._skipping = True
        for name in _COLLECTIVES:
            if hasattr(distributed.ProcessGroup, name):
                setattr(distributed.ProcessGroup, name, self._skippable(distributed, name))
        parallel: Any = sys.modules.get("torch.nn.parallel.distributed")
        if parallel is not None:
            self._make_ddp_skippable(parallel.DistributedDataParallel)

    def _skippable(self, distributed: Any, name: str) -> Callable[..., Any]:
        whole = getattr(distributed.ProcessGroup, name)

        def collective(group: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._skip:
                return whole(group, *args, **kwargs)
            self._emitter.tell(FaultHappened(fault=self._skip.pop(0), skipped=name))
            return _Done()

        return collective

    def _make_ddp_skippable(self, ddp: Any) -> None:
        whole = ddp.forward

        def forward(module: Any, *args: Any, **kwargs: Any) -> Any:
            if not (self._skip and module.training and module.require_backward_grad_sync):
                return whole(module, *args, **kwargs)
            what = "the reduction of a backward pass by DDP"
            self._emitter.tell(FaultHappened(fault=self._skip.pop(0), skipped=what))
            with module.no_sync():
                return whole(module, *args, **kwargs)

        ddp.forward = forward


def _offer_to_be_killed() -> None:
    """Let the kernel choose this process, of all on the node, when memory runs out."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        return


def _caller() -> str:
    """Name the line of the trainer at which an injected exception was made."""
    try:
        frame = sys._getframe(2)  # noqa: SLF001 - documented
    except ValueError:
        # Before 3.12 one that nobody caught is made when it is printed.
        return "the end of the program"
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


class _Done:
    """Stands for the work of a collective that was left out."""

    def wait(self, *_: object) -> bool:
        return True

    def is_completed(self) -> bool:
        return True
