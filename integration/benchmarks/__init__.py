"""What the sandbox costs beside others that do the same work: ``nox -s bench``. Not shipped."""
