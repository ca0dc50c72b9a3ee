"""Opens files that ranks can replace: neither through a link nor through a pipe."""

import errno
import os
import stat


def plain(path: str, flags: int) -> int:
    """Open a plain file that has one name; an ``opener`` for ``open``.

    Raises:
        OSError: It is something else, or can't be opened.

    """
    opened = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    found = os.fstat(opened)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(opened)
        raise OSError(errno.EINVAL, "no plain file", path)
    return opened
