"""Scores autopsies: faults whose cause is known, and what was said of them."""
