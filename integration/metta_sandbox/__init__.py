"""Test distributed sweeps on one machine: real DDP nodes, offline W&B, a stand-in control plane."""

__version__ = "0.1.0"
