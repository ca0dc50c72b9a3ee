"""Services of the stack beside nodes and control plane."""
