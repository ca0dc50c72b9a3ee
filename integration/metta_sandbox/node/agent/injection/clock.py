"""Sets the wall clock of this process off, and nothing else on the host.

The kernel has namespaces for other clocks only (time_namespaces(7)). What a process has of its own
are the tables of addresses through which its libraries call the C library. Here the entries of what
reads the wall clock lead to a few instructions that call the real function and add an offset. The
monotonic clocks stay right. What waits until a time of the wall clock takes the offset off again,
since it is the kernel that waits: so a timeout stays as long as it was meant to be, as where the
clock of a whole machine is off.

These instructions stay as long as the process; with an offset of 0 they change nothing.

What is loaded is told by dlinfo(3), the tables and relocations by the ELF gABI (chapter 5, "Dynamic
Linking"), their types by the System V ABI's supplement for AMD64. It works on x86-64 alone.
"""

import mmap
import os
import platform
import struct
import time
from typing import Any, Dict, Iterator, List, Tuple

from metta_sandbox.node.agent.injection.clock_instructions import FUNCTIONS, instructions
from metta_sandbox.node.agent.messages import Seen

try:
    import ctypes
except ImportError:  # an interpreter built without libffi: it is refused
    ctypes = None  # type: ignore[assignment]

_SECOND = 10**9
_READ_AND_WRITE = mmap.PROT_READ | mmap.PROT_WRITE

#: Tags of the dynamic section; the last is GNU's, and counts relocations that name no symbol.
_PLTRELSZ, _STRTAB, _SYMTAB, _RELA, _RELASZ, _JMPREL = 2, 5, 6, 7, 8, 23
_RELACOUNT = 0x6FFFFFF9
#: Types of relocations whose place holds nothing but a symbol's address: GLOB_DAT, JUMP_SLOT.
_ADDRESSES = (6, 7)
#: Bytes of a relocation, and of a symbol.
_RELOCATION, _SYMBOL = 24, 24
#: ``dlinfo``'s request for the link map.
_LINKMAP = 2
#: The kernel's number of ``clock_gettime``.
_KERNELS_CLOCK = 228

#: Of this one glibc gives out its version of before 2003 to whoever does not ask for another.
_VERSIONS = {"pthread_cond_timedwait": b"GLIBC_2.3.2"}

#: How often two clocks are compared; the closest counts.
_TRIES = 20


class Clock:
    """The wall clock of this process."""

    def __init__(self) -> None:
        #: The address of the word that says how far ahead it is, in nanoseconds; 0 until needed.
        self._ahead = 0

    def set_ahead(self, nanoseconds: int) -> None:
        """Set this process's wall clock ahead of the machine's, or behind it if negative.

        Children that are forked from now on go with it. Libraries that are loaded later go right.

        Raises:
            LookupError: The clock of this process can't be set off.
            OSError: The kernel refuses the memory for it.

        """
        if not self._ahead:
            if not nanoseconds:
                return
            require()
            self._ahead = _install()
        ctypes.c_int64.from_address(self._ahead).value = nanoseconds


def read_clocks() -> Seen:
    """Compare this process's clocks with the kernel's.

    Returns:
        For ``wall`` and ``monotonic`` two numbers of nanoseconds, between which Python's is ahead.

    Raises:
        LookupError: That can't be told in this process.

    """
    require()
    # Keeps the interpreter's lock, for which it would wait after each reading.
    call = ctypes.PyDLL(None).syscall
    told = (ctypes.c_int64 * 2)()

    def kernels(which: int) -> int:
        call(_KERNELS_CLOCK, which, told)
        return told[0] * _SECOND + told[1]

    def compare(which: int) -> Tuple[int, int]:
        found: List[Tuple[int, int]] = []
        for _ in range(_TRIES):
            before, own, after = kernels(which), time.clock_gettime_ns(which), kernels(which)
            found.append((own - after, own - before))
        return min(found, key=lambda one: one[1] - one[0])

    return {"wall": compare(time.CLOCK_REALTIME), "monotonic": compare(time.CLOCK_MONOTONIC)}


def require() -> None:
    """Make sure that the clock of this process can be set off.

    Raises:
        LookupError: It can't.

    """
    bits = 8 * struct.calcsize("P")
    if platform.machine() != "x86_64" or bits != 64:  # noqa: PLR2004 - of the name
        here = f"{bits} bits on {platform.machine()}"
        raise LookupError(f"a clock can be set off in a process of x86-64 alone, not of {here}")
    if ctypes is None:
        raise LookupError("this interpreter has no ctypes")


def _install() -> int:
    """Lead calls to instructions of ours, and return where they look for the offset."""
    # Neither is ever given back: threads use them until the process is gone. Children share the
    # offset, and are healed with their parent.
    ahead = _map(mmap.MAP_SHARED)
    entries = list(_entries(_write(ahead)))
    if not entries:
        raise LookupError("nothing in this process calls a C library that was loaded as one")
    _replace(entries)
    return ahead


def _write(ahead: int) -> Dict[bytes, int]:
    """Write the instructions for an offset that stands there, and return where each begins."""
    code = at = _map(mmap.MAP_PRIVATE)
    found: Dict[bytes, int] = {}
    for name, text in instructions(_real_functions(), ahead, code):
        ctypes.memmove(at, text, len(text))
        found[name.encode()] = at
        at += len(text)
    _protect(code, mmap.PROT_READ | mmap.PROT_EXEC)
    return found


# -- the tables ----------------------------------------------------------------------------------


def _real_functions() -> Dict[str, int]:
    """Find the addresses of those that the C library has."""
    library: Any = ctypes.CDLL(None)
    found = {}
    for name in FUNCTIONS:
        address = None
        if name in _VERSIONS and hasattr(library, "dlvsym"):
            library.dlvsym.restype = ctypes.c_void_p
            address = library.dlvsym(None, name.encode(), _VERSIONS[name])
        if address is None and hasattr(library, name):
            address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
        if address is not None:
            found[name] = address
    return found


def _words(address: int, count: int) -> Any:
    return (ctypes.c_uint64 * count).from_address(address)


def _loaded() -> Iterator[Tuple[int, int]]:
    """Give how far the program and each library was moved, and where its dynamic section is."""
    library = ctypes.CDLL(None, use_errno=True)
    found = ctypes.c_void_p()
    if library.dlinfo(ctypes.c_void_p(library._handle), _LINKMAP, ctypes.byref(found)):  # noqa: SLF001
        raise LookupError("the C library does not tell what is loaded")
    link = found.value
    while link:
        moved, _name, dynamic, link = _words(link, 4)
        yield moved, dynamic


def _entries(addresses: Dict[bytes, int]) -> Iterator[Tuple[int, int]]:
    """Give the places that hold the addresses of functions, and what is to stand there."""
    for moved, dynamic in _loaded():
        tags = _tags(dynamic)
        # glibc has written where they are, musl has left how far into the library they are.
        where = {
            tag: value if value >= moved else moved + value
            for tag, value in tags.items()
            if tag in (_STRTAB, _SYMTAB, _RELA, _JMPREL)
        }
        skipped = tags.get(_RELACOUNT, 0)
        for table, size, first in ((_RELA, _RELASZ, skipped), (_JMPREL, _PLTRELSZ, 0)):
            if table not in where:
                continue
            words = _words(where[table], 3 * (tags[size] // _RELOCATION))
            for index, info in enumerate(words[3 * first + 1 :: 3], first):
                if info & 0xFFFFFFFF not in _ADDRESSES:
                    continue
                symbol = where[_SYMTAB] + _SYMBOL * (info >> 32)
                name, _kind, defined = struct.unpack("<IHH", ctypes.string_at(symbol, 8))
                ours = addresses.get(ctypes.string_at(where[_STRTAB] + name))
                place = moved + words[3 * index]
                # Its own function of that name is left alone, and one that is nowhere.
                if ours and not defined and _words(place, 1)[0]:
                    yield place, ours


def _tags(dynamic: int) -> Dict[int, int]:
    found: Dict[int, int] = {}
    while True:
        tag, value = _words(dynamic, 2)
        if not tag:
            return found
        found[tag] = value
        dynamic += 16


def _replace(entries: List[Tuple[int, int]]) -> None:
    """Write each, in one go as threads see it; most tables were made read-only once filled."""
    writable = list(_writable())
    for place, address in entries:
        page = place - place % mmap.PAGESIZE
        free = any(start <= place < end for start, end in writable)
        if not free:
            _protect(page, _READ_AND_WRITE)
        ctypes.c_uint64.from_address(place).value = address
        if not free:
            _protect(page, mmap.PROT_READ)


def _writable() -> Iterator[Tuple[int, int]]:
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, rights = line.split()[:2]
            if "w" in rights:
                start, _, end = span.partition("-")
                yield int(start, 16), int(end, 16)


def _map(flags: int) -> int:
    library: Any = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    flags |= mmap.MAP_ANONYMOUS
    address = library.mmap(None, mmap.PAGESIZE, _READ_AND_WRITE, flags, -1, 0)
    if address == ctypes.c_void_p(-1).value:
        raise _last_error()
    found: int = address
    return found


def _protect(page: int, rights: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    where, size = ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE)
    if library.mprotect(where, size, rights):
        raise _last_error()


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
