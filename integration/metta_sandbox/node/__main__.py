"""``python -m metta_sandbox.node sweep run=NAME …``: the command that starts on every node."""

import os
import sys

from metta_sandbox.node.rollout import main

status = main()
sys.stdout.flush()
sys.stderr.flush()
# Gloo's threads may still hold on to the interpreter; a rollout that is over has nothing to tidy.
os._exit(status)
