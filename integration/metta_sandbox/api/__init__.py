"""The stand-in for the Observatory and Cogweb control plane."""
