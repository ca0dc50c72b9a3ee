"""A stand-in for the W&B server, for clients that are not changed."""
