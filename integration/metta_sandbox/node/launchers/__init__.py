"""How a trial's trainers are started on a node."""
