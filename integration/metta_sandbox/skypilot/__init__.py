"""SkyPilot tasks as they are: read, accounted for field by field, and played on local nodes."""
