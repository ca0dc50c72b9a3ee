"""Asks the control plane for a path: ``{"status": …, "seconds": …}``, or ``{"problem": …}``."""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


def token(url: str) -> str:
    """Read the caller's token for a control plane, if there is one."""
    path = Path.home() / ".metta" / "observatory_tokens.yaml"
    try:
        from metta_sandbox.observatory_tokens import read_tokens  # noqa: PLC0415 - may not be there

        return read_tokens(path).for_url(url) or "" if path.is_file() else ""
    except ImportError:
        return ""


def ask(path: str, patience: float) -> Any:
    """Ask the control plane for a path, once; returns what is printed."""
    url = os.environ["OBSERVATORY_URL"]
    request = urllib.request.Request(f"{url}{path}")  # noqa: S310 - the stack's own
    if known := token(url):
        request.add_header("X-Auth-Token", known)
    began = time.monotonic()
    try:
        # No proxy is asked for what is inside of the stack.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=patience) as answer:
            answer.read()
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    except OSError as error:
        return {"problem": str(error)}
    return {"status": status, "seconds": time.monotonic() - began}


if __name__ == "__main__":
    print(json.dumps(ask(sys.argv[1], float(sys.argv[2]))))  # noqa: T201
