"""A scenario's turn: its stack may come up before, and go after, but it works when it has one."""

from __future__ import annotations


class Turn:
    """What a scenario is told by, and tells, whoever plays others beside it.

    This is the turn of one that is played by itself: always.
    """

    def begin(self) -> float:
        """Wait until it may work; returns the seconds that it waited.

        Raises:
            Interrupted: Ctrl-C ends the run before that.

        """
        return 0.0

    def end(self) -> None:
        """Tell that nothing of it works any more. Doing it twice is no error."""
