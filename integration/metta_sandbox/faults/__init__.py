"""What makes things go wrong on purpose, and proves that they did."""
