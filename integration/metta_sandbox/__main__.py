"""``python -m metta_sandbox``: the command line."""

from metta_sandbox.cli import main

main()
