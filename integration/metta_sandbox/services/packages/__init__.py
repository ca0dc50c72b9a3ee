"""The package index of a stack, which asks the harness."""
