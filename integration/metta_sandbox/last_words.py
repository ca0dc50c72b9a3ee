"""What a program said last, before it ended."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: What `srun`, `mpirun` and torchrun say as processes that they have started end.
_OF_CHILDREN = re.compile(
    r"srun: error: \S+: tasks? [\d,-]+: |srun: (Terminating|Force Terminat)"
    r"|slurmstepd: error: \*\*\*"
    r"|Primary job  ?terminated normally|a non-zero exit code\. Per user-direction"
    r"|mpirun (detected|noticed) that |the job to be terminated\. The first process"
    r"|Process name: \[\[|Exit code: +\d+$"
    r"|\S+ FAILED$|Failures:$|<NO_OTHER_FAILURES>$|\[\d+\]:$"
    r"|Root Cause \(first observed failure\):$"
    r"|(time      |host      |rank      |exitcode  |error_file|traceback ): "
)
#: Where torchrun begins to tell what became of its children, and what it then raises.
CHILD_FAILED = re.compile(
    r"torch/distributed/elastic/multiprocessing/api\.py:\d+\] failed \(exitcode"
    r"|^E\d{4} .*failed \(exitcode:"
)
_RAISED_OF_CHILDREN = re.compile(r"^(\[\w+\]: ?)?[\w.]*\bChildFailedError: *$")


def last_words(lines: Iterable[str]) -> str:
    """Return the last line that says something, other than an event."""
    words = LastWords()
    for line in lines:
        words.take(line)
    return words.text


class LastWords:
    """The last line of a program's that says something, as its lines come.

    A launcher that ends tells at length of its children, which have said why themselves.
    """

    def __init__(self) -> None:
        self.text = ""
        self._of_a_child = ""

    def take(self, line: str) -> None:
        """Take in a line."""
        if CHILD_FAILED.search(line):
            self._of_a_child = self.text
        elif _RAISED_OF_CHILDREN.search(line) and self._of_a_child:
            self.text = self._of_a_child
        elif is_worth_telling(line):
            self.text = line.strip()


def is_worth_telling(line: str) -> bool:
    """Tell whether a line may be somebody's last words.

    A ruler, an event and a hint of ours are none, nor is what launchers say of children.
    """
    text = line.strip()
    if not any(map(str.isalnum, text)) or text.startswith(('{"event":', "->")):
        return False
    return not _OF_CHILDREN.match(text)
