"""What broke a sweep: who is to blame, at which call, and who waits for whom."""
