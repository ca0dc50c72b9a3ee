"""A function that notes that it was called, and does to its caller what it did before."""

from __future__ import annotations

import functools

TYPE_CHECKING = False
if TYPE_CHECKING:  # ``typing`` takes long to import, and this is in every rank
    from typing import Any, Callable, Tuple


def noted(
    name: str,
    whole: Callable[..., Any],
    before: Callable[[str, Any, Any], Any],
    after: Callable[..., None] | None = None,
) -> Callable[..., Any]:
    """Build what stands for a function.

    Args:
        name: The function's.
        whole: What it does.
        before: Called with the name and the arguments; what it raises is left out.
        after: Called with what ``before`` returned, and with what the function did unless it
            raised; what it raises is left out, too.

    """

    @functools.wraps(whole)
    def call(*args: Any, **kwargs: Any) -> Any:
        about = quiet(before, name, args, kwargs)
        made: Tuple[Any, ...] = ()
        try:
            made = (whole(*args, **kwargs),)
            return made[0]
        except BaseException as error:
            # This call is none of the program's.
            trace = error.__traceback__
            error.__traceback__ = trace.tb_next if trace is not None else None
            raise
        finally:
            if after is not None and about is not None:
                quiet(after, about, *made)

    def quiet(note: Callable[..., Any], *told: Any) -> Any:
        try:
            return note(*told)
        except Exception:  # noqa: BLE001 - what is asked for counts
            return None

    return call
