"""What only a container can tell: kernel features, disk and shared memory as the engine has them.

Runs on its own in a container, or in a network namespace of this host, as root of that namespace
and with nothing but the standard library of Python 3.9; prints one JSON object. Features are tried
for real on the loopback interface of the namespace it runs in, by the netlink requests that ``tc``
and ``iptables`` would send (rtnetlink(7), linux/pkt_sched.h, linux/netfilter/nfnetlink_queue.h),
since images seldom have those programs.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

#: Nobody waits for this longer; it then ends by itself, and its container with it.
LIMIT_SECONDS = 10

# linux/netlink.h, linux/rtnetlink.h
_NETLINK_ROUTE, _NETLINK_NETFILTER = 0, 12
_REQUEST_ACK, _CREATE_REPLACE = 0x1 | 0x4, 0x400 | 0x100
_NLMSG_ERROR = 2
_RTM_NEWQDISC, _RTM_DELQDISC = 36, 37
_TC_H_ROOT = 0xFFFFFFFF
_KIND, _OPTIONS = 1, 2
_TBF_PARMS, _TBF_BURST = 1, 6
# linux/netfilter/nfnetlink.h: a subsystem and a message make a type
_QUEUE_CONFIG = (3 << 8) | 2
_COMPAT_GET = (11 << 8) | 0
# linux/netfilter_ipv4/ip_tables.h
_IPT_SO_GET_REVISION_TARGET = 67

#: What a kernel answers that has no such thing.
_ABSENT = (errno.ENOENT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.ENOPROTOOPT)


def attribute(kind: int, data: bytes) -> bytes:
    """Write a netlink attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def ask(family: int, kind: int, flags: int, body: bytes) -> int:
    """Send a netlink request and return the error number in its answer, 0 for none."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family) as kernel:
        kernel.settimeout(2)
        kernel.bind((0, 0))
        kernel.send(struct.pack("=IHHII", 16 + len(body), kind, flags | _REQUEST_ACK, 1, 0) + body)
        answer = kernel.recv(65536)
    if struct.unpack_from("=IHHII", answer)[1] != _NLMSG_ERROR:
        return 0
    return -int(struct.unpack_from("=i", answer, 16)[0])


def queueing_discipline(kind: str, options: bytes) -> int:
    """Put a queueing discipline on the loopback interface and take it off again."""
    interface = socket.if_nametoindex("lo")
    root = struct.pack("=BxHiIII", 0, 0, interface, 0, _TC_H_ROOT, 0)
    wanted = root + attribute(_KIND, kind.encode() + b"\0") + attribute(_OPTIONS, options)
    error = ask(_NETLINK_ROUTE, _RTM_NEWQDISC, _CREATE_REPLACE, wanted)
    return error or ask(_NETLINK_ROUTE, _RTM_DELQDISC, 0, root)


def netem() -> int:
    """Try sch_netem: struct tc_netem_qopt, a limit of 1000 packets and nothing else."""
    return queueing_discipline("netem", struct.pack("=6I", 0, 1000, 0, 0, 0, 0))


def tbf() -> int:
    """Try sch_tbf: struct tc_tbf_qopt, 125,000 bytes a second over Ethernet, a burst of 10 kB."""
    rate = struct.pack("=BBHhHI", 0, 1, 0, 0, 0, 125_000)
    peak = bytes(12)
    parameters = rate + peak + struct.pack("=III", 20_000, 1_000_000, 0)
    burst = attribute(_TBF_BURST, struct.pack("=I", 10_000))
    return queueing_discipline("tbf", attribute(_TBF_PARMS, parameters) + burst)


def nfqueue() -> int:
    """Try to bind a queue, and to find iptables' NFQUEUE target, by way of nftables or without."""
    bind = struct.pack("!BBH", 0, 0, 0) + attribute(1, struct.pack("!BBH", 1, 0, 0))
    if error := ask(_NETLINK_NETFILTER, _QUEUE_CONFIG, 0, bind):
        return error
    target = struct.pack("=BBH", socket.AF_INET, 0, 0) + attribute(1, b"NFQUEUE\0")
    target += attribute(2, struct.pack("!I", 0)) + attribute(3, struct.pack("!I", 1))
    error = ask(_NETLINK_NETFILTER, _COMPAT_GET, 0, target)
    return _legacy_target() if error in _ABSENT else error


def _legacy_target() -> int:
    """Ask ip_tables itself, which is what ``iptables-legacy`` does."""
    revision = ctypes.create_string_buffer(struct.pack("=29sB", b"NFQUEUE", 0), 30)
    size = ctypes.c_uint(30)
    library = ctypes.CDLL(None, use_errno=True)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        done = library.getsockopt(
            raw.fileno(),
            socket.IPPROTO_IP,
            _IPT_SO_GET_REVISION_TARGET,
            revision,
            ctypes.byref(size),
        )
    return 0 if done == 0 else ctypes.get_errno()


def isolated(table: str = "/proc/net/route") -> bool:
    """Tell whether this network namespace leads nowhere: only there may anything be tried."""
    return len(Path(table).read_text().splitlines()) <= 1


def feature(attempt: Callable[[], int]) -> str:
    """Return ``present``, ``absent``, or why it can't be told."""
    try:
        error = attempt()
    except OSError as failure:
        return str(failure)
    if not error:
        return "present"
    return "absent" if error in _ABSENT else os.strerror(error)


def look() -> dict[str, object]:
    """Return features by name, and sizes in bytes."""
    disk = os.statvfs("/")
    shared = os.statvfs("/dev/shm")  # noqa: S108 - its size is the question
    return {
        "features": {"netem": feature(netem), "nfqueue": feature(nfqueue), "tbf": feature(tbf)},
        "disk_free": disk.f_bavail * disk.f_frsize,
        "shared_memory": shared.f_blocks * shared.f_frsize,
    }


if __name__ == "__main__":
    if not isolated():
        sys.exit("not in a network namespace of its own")
    signal.alarm(LIMIT_SECONDS)
    json.dump(look(), sys.stdout)
