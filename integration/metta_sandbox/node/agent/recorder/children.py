"""Hears how children end: of their parent when it is told their status, and of workers themselves.

Nobody waits in a call of ours: a parent's stack shows where it waits, and not that somebody hears.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # ``typing`` takes long to import, and this is in every interpreter of a job
    from typing import Any, Callable


def hear_of_commands(reaped: Callable[..., None]) -> None:
    """Hear of the statuses that ``subprocess`` is told.

    Args:
        reaped: Called with who has a ``pid`` and a ``returncode``.

    """
    popen: Any = sys.modules["subprocess"].Popen
    whole = popen._handle_exitstatus  # noqa: SLF001

    def handled(self: Any, *args: Any, **kwargs: Any) -> None:
        whole(self, *args, **kwargs)
        reaped(self)

    popen._handle_exitstatus = handled  # noqa: SLF001


def hear_of_workers(reaped: Callable[..., None]) -> None:
    """Hear of the statuses that ``multiprocessing`` is told."""
    popen: Any = sys.modules["multiprocessing.popen_fork"].Popen

    def get(self: Any) -> Any:
        if "returncode" not in self.__dict__:
            raise AttributeError("returncode")
        return self.__dict__["returncode"]

    def put(self: Any, status: Any) -> None:
        self.__dict__["returncode"] = status
        reaped(self)

    popen.returncode = property(get, put)


def hear_of_ends(ends: Callable[..., None]) -> None:
    """See what ends a worker of ``multiprocessing``, which prints it and tells nobody.

    Args:
        ends: Called while the exception is being handled.

    """
    base: Any = sys.modules["multiprocessing.process"].BaseProcess
    whole = base._bootstrap  # noqa: SLF001
    if _ENDS in whole.__code__.co_names:
        return

    def bootstrap(self: Any, *args: Any, **kwargs: Any) -> Any:
        run = self.run

        def noted() -> None:
            try:
                run()
            except BaseException as error:
                # This call is none of the program's.
                trace = error.__traceback__
                error.__traceback__ = trace.tb_next if trace is not None else None
                ends()
                raise

        self.run = noted
        return whole(self, *args, **kwargs)

    base._bootstrap = bootstrap  # noqa: SLF001


#: What workers of Pythons before 3.12 or so call while their exception is under way.
_ENDS = "_exit_function"


def hear_of_older_ends(ends: Callable[..., None]) -> None:
    """See the same in Pythons that know of no other way to leave no trace."""
    util: Any = sys.modules["multiprocessing.util"]
    whole = util._exit_function  # noqa: SLF001

    def exit_function(*args: Any, **kwargs: Any) -> None:
        ends()
        whole(*args, **kwargs)

    util._exit_function = exit_function  # noqa: SLF001
