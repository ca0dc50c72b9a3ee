"""``python -m metta_sandbox.node sweep run=NAME …``: the command that starts on every node."""

import os
import sys
import threading

from metta_sandbox.node.agent.startup_heartbeat import tell_signs_of_life

begun = threading.Event()
tell_signs_of_life(over=begun)

from metta_sandbox.node.rollout import main  # noqa: E402 - importing torch is most of the start

status = main(begun.set)
sys.stdout.flush()
sys.stderr.flush()
# Gloo's threads may still hold on to the interpreter; a rollout that is over has nothing to tidy.
os._exit(status)
