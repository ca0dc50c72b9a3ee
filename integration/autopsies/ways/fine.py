"""Trainers that look as if something were wrong, and of which nothing is."""

from __future__ import annotations

from autopsies.ways.way import Way

FINE = (
    Way("plain", fine=True),
    Way("fine_silent", fine=True),
    Way("fine_first_step", fine=True),
    Way("fine_import", fine=True),
    Way("fine_loud", fine=True),
    Way("fine_idle", fine=True),
    Way("fine_uneven_speed", fine=True),
    Way("fine_retries", fine=True),
    Way("fine_handles", fine=True),
    Way("fine_thread_dies", fine=True),
    Way("fine_join", fine=True),
    Way("fine_workers", fine=True),
    Way("fine_signals", fine=True, threads=False),
    Way("fine_late_comer", fine=True),
    Way("fine_restarted", fine=True, launchers=("run", "own"), threads=False, restarts=1),
)
