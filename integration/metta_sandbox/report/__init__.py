"""What a run leaves behind for its readers: artifacts, results, console."""
