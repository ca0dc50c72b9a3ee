"""A container's first process where scenarios take turns, and what one leaves to the next."""
