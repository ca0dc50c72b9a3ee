"""Nodes as containers, through Docker Compose."""
