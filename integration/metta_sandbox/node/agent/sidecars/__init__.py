"""Programs that run beside a node: they strike its network or disk, or watch who it calls."""
