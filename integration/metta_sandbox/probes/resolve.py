"""Says which of some host names this node can't resolve: ``{"unresolved": [...]}``."""

import json
import socket
import sys
from typing import Any


def main(names: Any) -> None:
    """Resolve each name."""
    unresolved = []
    for name in names:
        try:
            socket.getaddrinfo(name, None)
        except OSError:
            unresolved.append(name)
    print(json.dumps({"unresolved": unresolved}))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
