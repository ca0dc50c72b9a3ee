"""What must hold after a scenario was played."""
