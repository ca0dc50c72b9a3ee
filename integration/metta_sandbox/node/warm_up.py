"""``python -m metta_sandbox.node.warm_up``: ends once a node's templates have imported everything.

The agent that is asked to start this starts the templates for it, and keeps them.
"""

from __future__ import annotations

import os
import sys

from metta_sandbox.node.agent.fork_server.client import about
from metta_sandbox.node.agent.fork_server.spawn import bundled_of, programs_of, template_beside

#: Seconds that a template gets to import.
_PATIENCE = 120.0


def main() -> int:
    """Wait; returns the exit status, which is 0 if rollout and trainers will be forked."""
    own = template_beside(os.environ["METTA_EVENTS"])
    each = (own, programs_of(own), bundled_of(own))
    refusals = [about(template, _PATIENCE)["refusal"] for template in each]
    for refusal in filter(None, refusals):
        sys.stderr.write(f"not warm: {refusal}\n")
    return 1 if any(refusals) else 0


if __name__ == "__main__":
    sys.exit(main())
