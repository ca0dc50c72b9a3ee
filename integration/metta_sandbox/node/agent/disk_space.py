"""How much room a node finds in a folder, and whether it can write there."""

import errno
import os

from metta_sandbox.node.agent.messages import Room

_PROBE = ".metta-room"
_BYTES = 1 << 12


def room(folder: str) -> Room:
    """Look at a folder's disk, and try to write a file in it."""
    disk = os.statvfs(folder)
    path = os.path.join(folder, "{}-{}".format(_PROBE, os.getpid()))
    refused = ""
    try:
        with open(path, "wb") as file:
            file.write(b"x" * _BYTES)
            file.flush()
            # Some say only now that there is no room.
            os.fsync(file.fileno())
    except OSError as error:
        refused = errno.errorcode.get(error.errno or 0, str(error))
    finally:
        if os.path.exists(path):
            os.unlink(path)
    return {"free": disk.f_bavail * disk.f_frsize, "refused": refused}
