"""What a scenario file says: the model, loading with line numbers, override grammar."""
