"""The instructions that stand for what tells the wall clock, and for what waits until a time of it.

Threads run through them without the interpreter's lock, so nothing of Python can stand there. With
an offset of 0 they change nothing. How functions are called is told by the System V ABI's
supplement for AMD64, the instructions by the AMD64 Architecture Programmer's Manual, volume 3.
"""

import struct
from typing import Dict, Iterator, Tuple

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
#: All that they stand for.
FUNCTIONS = ("clock_gettime", "gettimeofday", "time", *_WAITS)


def instructions(real: Dict[str, int], ahead: int, at: int) -> Iterator[Tuple[str, bytes]]:
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
        b"\x48\x03\x41\x08" + _r11(ahead) + b"\x49\x03\x03"  # add rax, [rcx+8]; add rax, [r11]
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
