"""Sets the wall clock of this process off, and nothing else on the host.

The kernel has namespaces for other clocks only (time_namespaces(7)). What a process has of its own
are the tables of addresses through which its libraries call the C library. Here the entries of what
reads the wall clock lead to a few instructions that call the real function and add an offset. The
monotonic clocks stay right. What waits until a time of the wall clock takes the offset off again,
since it is the kernel that waits: so a timeout stays as long as it was meant to be, as where the
clock of a whole machine is off.

Threads run through these instructions without the interpreter's lock, so nothing of Python can
stand there. They stay as long as the process; with an offset of 0 they change nothing.

What is loaded is told by dlinfo(3), the tables and relocations by the ELF gABI (chapter 5, "Dynamic
Linking"), their types and how functions are called by the System V ABI's supplement for AMD64, the
instructions by the AMD64 Architecture Programmer's Manual, volume 3. It works on x86-64 alone.
"""

import mmap
import os
import platform
import struct
import time
from typing import Any, Dict, Iterator, List, Tuple

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

#: Jumps over so many bytes, by the comparison before.
_JE, _JNE, _JGE, _JLE = b"\x74", b"\x75", b"\x7d", b"\x7e"
#: Seconds between which a time is one of the wall clock; less is one of a clock that counts from
#: the machine's start, more stands for ever.
_EARLIEST, _LATEST = 1 << 29, (1 << 31) - 1
#: What waits until a time, and which of its arguments says so, counted from 0.
_WAITS = {
    "sem_timedwait": 1,
    "sem_clockwait": 2,
    "pthread_mutex_timedlock": 1,
    "pthread_mutex_clocklock": 2,
    "pthread_rwlock_timedrdlock": 1,
    "pthread_rwlock_timedwrlock": 1,
    "pthread_rwlock_clockrdlock": 2,
    "pthread_rwlock_clockwrlock": 2,
    "pthread_cond_timedwait": 2,
    "pthread_cond_clockwait": 3,
    "clock_nanosleep": 2,
}
#: How instructions number the registers of those arguments: rsi, rdx, rcx.
_REGISTERS = {1: 6, 2: 2, 3: 1}
#: Of this one glibc gives out its version of before 2003 to whoever does not ask for another.
_VERSIONS = {"pthread_cond_timedwait": b"GLIBC_2.3.2"}
_FUNCTIONS = ("clock_gettime", "gettimeofday", "time", *_WAITS)

#: How often two clocks are compared; the closest counts.
_TRIES = 20


class Clock:
    """The wall clock of this process."""

    def __init__(self) -> None:
        #: The address of the word that says how far ahead it is, in nanoseconds; 0 until needed.
        self._ahead = 0

    def set_ahead(self, nanoseconds: int) -> None:
        """Let it be ahead of the machine's, or, if that is negative, behind.

        Children that are forked from now on go with it. Libraries that are loaded later go right.

        Raises:
            LookupError: That can't be done in this process.
            OSError: The kernel does not allow it.

        """
        if not self._ahead:
            if not nanoseconds:
                return
            require()
            self._ahead = _install()
        ctypes.c_int64.from_address(self._ahead).value = nanoseconds


def read_clocks() -> Dict[str, Tuple[int, int]]:
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
    for name, text in _instructions(_real_functions(), ahead, code):
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
    for name in _FUNCTIONS:
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


# -- the instructions ----------------------------------------------------------------------------


def _instructions(real: Dict[str, int], ahead: int, at: int) -> Iterator[Tuple[str, bytes]]:
    """Write what stands for each function, to be put one behind the other.

    Args:
        real: The functions' addresses; ``clock_gettime`` is among them.
        ahead: The address of the offset.
        at: The address of the first.

    """
    yield "clock_gettime", _clock_gettime(real["clock_gettime"], ahead)
    # These go by the first, so that all clocks change in the same moment.
    if "gettimeofday" in real:
        yield "gettimeofday", _gettimeofday(real["gettimeofday"], at)
    if "time" in real:
        yield "time", _time(at)
    for name, argument in _WAITS.items():
        if name in real:
            yield name, _wait(real[name], ahead, _REGISTERS[argument])


def _call(address: int) -> bytes:
    return _r11(address) + b"\x41\xff\xd3"  # call r11


def _r11(value: int) -> bytes:
    return b"\x49\xbb" + struct.pack("<Q", value)  # mov r11, value; it is nobody's across calls


def _over(jump: bytes, body: bytes) -> bytes:
    return jump + bytes([len(body)]) + body


def _clock_gettime(real: int, ahead: int) -> bytes:
    shift = (
        b"\x48\x69\x01\x00\xca\x9a\x3b"  # imul rax, [rcx], 1000000000
        b"\x48\x03\x41\x08" + _r11(ahead) + b"\x49\x03\x03"  # add rax, [rcx+8]  # add rax, [r11]
        b"\x48\x99"  # cqo
        b"\xbe\x00\xca\x9a\x3b"  # mov esi, 1000000000
        b"\x48\xf7\xfe"  # idiv rsi
        b"\x48\x89\x01"  # mov [rcx], rax
        b"\x48\x89\x51\x08"  # mov [rcx+8], rdx
        b"\x31\xc0"  # xor eax, eax
    )
    coarse = b"\x83\xfa\x05" + _JNE + bytes([len(shift)])  # cmp edx, CLOCK_REALTIME_COARSE
    wall = b"\x85\xd2" + _over(_JE, coarse) + shift  # test edx, edx: CLOCK_REALTIME
    return (
        b"\x55\x48\x89\xe5\x57\x56"  # push rbp; mov rbp, rsp; push rdi; push rsi
        + _call(real)
        + b"\x59\x5a\x5d"  # pop rcx; pop rdx; pop rbp
        b"\x85\xc0" + _over(_JNE, wall) + b"\xc3"  # test eax, eax; ret
    )


def _gettimeofday(real: int, clock_gettime: int) -> bytes:
    shift = (
        b"\x31\xff"  # xor edi, edi: CLOCK_REALTIME
        b"\x48\x89\xde"  # mov rsi, rbx
        + _call(clock_gettime)
        + b"\x48\x8b\x43\x08"  # mov rax, [rbx+8]
        b"\x31\xd2"  # xor edx, edx
        b"\xb9\xe8\x03\0\0"  # mov ecx, 1000
        b"\x48\xf7\xf1"  # div rcx
        b"\x48\x89\x43\x08"  # mov [rbx+8], rax
        b"\x31\xc0"  # xor eax, eax
    )
    wanted = b"\x48\x85\xdb" + _over(_JE, shift)  # test rbx, rbx
    return (
        b"\x55\x48\x89\xe5\x53\x50"  # push rbp; mov rbp, rsp; push rbx; push rax
        b"\x48\x89\xfb"  # mov rbx, rdi
        + _call(real)
        + b"\x85\xc0"  # test eax, eax
        + _over(_JNE, wanted)
        + b"\x5a\x5b\x5d\xc3"  # pop rdx; pop rbx; pop rbp; ret
    )


def _time(clock_gettime: int) -> bytes:
    return (
        b"\x55\x48\x89\xe5\x53"  # push rbp; mov rbp, rsp; push rbx
        b"\x48\x83\xec\x18"  # sub rsp, 24
        b"\x48\x89\xfb"  # mov rbx, rdi
        b"\xbf\x05\0\0\0"  # mov edi, CLOCK_REALTIME_COARSE
        b"\x48\x89\xe6"  # mov rsi, rsp
        + _call(clock_gettime)
        + b"\x48\x8b\x04\x24"  # mov rax, [rsp]
        b"\x48\x85\xdb"  # test rbx, rbx
        + _over(_JE, b"\x48\x89\x03")  # mov [rbx], rax
        + b"\x48\x83\xc4\x18\x5b\x5d\xc3"  # add rsp, 24; pop rbx; pop rbp; ret
    )


def _wait(real: int, ahead: int, register: int) -> bytes:
    """Hand on an earlier time, where the argument in a register is one of the wall clock."""
    there, behind = bytes([register]), bytes([0x40 | register]) + b"\x08"  # [r], [r+8]
    shift = (
        b"\x48\x69" + there + b"\x00\xca\x9a\x3b"  # imul rax, [r], 1000000000
        b"\x48\x03" + behind  # add rax, [r+8]
        + _r11(ahead)
        + b"\x49\x2b\x03"  # sub rax, [r11]
        b"\x49\x89\xd2"  # mov r10, rdx
        b"\x48\x99"  # cqo
        b"\x41\xbb\x00\xca\x9a\x3b"  # mov r11d, 1000000000
        b"\x49\xf7\xfb"  # idiv r11
        b"\x48\x89\x04\x24"  # mov [rsp], rax
        b"\x48\x89\x54\x24\x08"  # mov [rsp+8], rdx
        b"\x4c\x89\xd2"  # mov rdx, r10
        b"\x48\x89" + bytes([0xE0 | register])  # mov r, rsp
    )  # fmt: skip
    compare = b"\x48\x81" + bytes([0x38 | register])  # cmp qword [r], …
    late = compare + struct.pack("<i", _LATEST) + _over(_JGE, shift)
    early = compare + struct.pack("<i", _EARLIEST) + _over(_JLE, late)
    given = b"\x48\x85" + bytes([0xC0 | register << 3 | register])  # test r, r
    return (
        b"\x55\x48\x89\xe5"  # push rbp; mov rbp, rsp
        b"\x48\x83\xec\x20"  # sub rsp, 32
        + given
        + _over(_JE, early)
        + _call(real)
        + b"\xc9\xc3"  # leave; ret
    )
