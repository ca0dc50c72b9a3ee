"""What scenarios run on: Docker Compose through python-on-whales, or local processes."""
