"""What lets a node find a folder's disk full, from beside it.

It shares the node's processes, through which it finds the node's view of the file system, and in
that it covers the folder with a disk that has no room: the kernel's overlay, of what is there with
a full file system in memory on top (see its documentation's ``filesystems/overlayfs.rst``). All
that is in the folder can still be read, also what others write to it meanwhile; whatever would
change it through the node is answered ``ENOSPC`` by the kernel, and nothing of it is lost. What is
open already stays open on the disk beneath. Orders come as lines of JSON; when there are no more
of them, the cover is taken away.
"""

import contextlib
import ctypes
import os
import sys
from typing import Callable, Dict, Iterator, Set

from metta_sandbox.node.agent.sidecars.orders import follow, say

_CLONE_NEWNS = 0x00020000
_MNT_DETACH = 2
#: The node's first process, as it is seen from beside it.
_NODE = "/proc/1/ns/mnt"
#: Where the full file system is made, in the node, for as long as it takes to put it to use.
_STAGE = "/.metta-full"
#: What it has room for, before it is full.
_SIZE, _FILES = 1 << 20, 64


class DiskFiller:
    """Covers folders of its node, and takes the covers away.

    Args:
        inside: Does something where the node's file systems are; that of another process.

    """

    def __init__(self, inside: Callable[[Callable[[], None]], None]) -> None:
        self._inside = inside
        #: By folder, the faults for which its disk is full.
        self._full: Dict[str, Set[str]] = {}

    def run(self, orders: Iterator[str]) -> int:
        """Follow orders until there are no more."""
        say({})
        try:
            follow({"fill": self.fill, "empty": self.empty}, orders)
        finally:
            for folder in list(self._full):
                self._inside(lambda folder=folder: _uncover(folder))  # type: ignore[misc]
        return 0

    def fill(self, name: str, folder: str) -> None:
        """Make a folder's disk full, for a fault."""
        if folder not in self._full:
            self._inside(lambda: _cover(folder))
        self._full.setdefault(folder, set()).add(name)

    def empty(self, name: str, folder: str) -> None:
        """Give a folder its room back, unless another fault keeps its disk full."""
        names = self._full.get(folder, set())
        names.discard(name)
        if not names and self._full.pop(folder, None) is not None:
            self._inside(lambda: _uncover(folder))


def in_node(act: Callable[[], None]) -> None:
    """Do something in a process of its own that sees what the node sees.

    Raises:
        OSError: It can't be done.

    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = b""
        try:
            with open(_NODE) as node:
                _checked("setns", ctypes.c_int(node.fileno()), ctypes.c_int(_CLONE_NEWNS))
            act()
        except OSError as error:
            said = str(error).encode()
        finally:
            # Whatever happens, nothing of the parent's is done twice.
            os.write(writer, said)
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        problem = told.read().decode()
    os.waitpid(pid, 0)
    if problem:
        raise OSError(problem)


def _cover(folder: str) -> None:
    os.mkdir(_STAGE, 0o700)
    try:
        _mount("tmpfs", _STAGE, "size={},nr_inodes={},mode=700".format(_SIZE, _FILES))
        try:
            upper, work = os.path.join(_STAGE, "upper"), os.path.join(_STAGE, "work")
            seen = os.stat(folder)
            os.mkdir(work)
            os.mkdir(upper)
            # To the node it is the same folder.
            os.chmod(upper, seen.st_mode & 0o7777)
            os.chown(upper, seen.st_uid, seen.st_gid)
            layers = "lowerdir={},upperdir={},workdir={}".format(folder, upper, work)
            # The mount itself makes files, with nothing in them.
            _use_up_bytes(_STAGE)
            _mount("overlay", folder, layers)
            _use_up_files(_STAGE)
        finally:
            _uncover(_STAGE)
    finally:
        os.rmdir(_STAGE)


def _use_up_bytes(disk: str) -> None:
    with contextlib.suppress(OSError), open(os.path.join(disk, "filler"), "wb", 0) as file:
        while file.write(b"x" * (1 << 12)):
            pass


def _use_up_files(disk: str) -> None:
    with contextlib.suppress(OSError):
        for number in range(_FILES):
            os.mknod(os.path.join(disk, str(number)))


def _uncover(folder: str) -> None:
    """Take a mount away; who has something of it open keeps that."""
    _checked("umount2", folder.encode(), ctypes.c_int(_MNT_DETACH))


def _mount(kind: str, target: str, options: str) -> None:
    none = ctypes.c_ulong(0)
    _checked("mount", kind.encode(), target.encode(), kind.encode(), none, options.encode())


def _checked(name: str, *args: object) -> None:
    """Call a function of the C library.

    Raises:
        OSError: It says that it could not do what it is for.

    """
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*args) != 0:
        number = ctypes.get_errno()
        raise OSError(number, "{}: {}".format(name, os.strerror(number)))


def run() -> int:
    """Follow orders from standard input."""
    return DiskFiller(in_node).run(iter(sys.stdin.readline, ""))
