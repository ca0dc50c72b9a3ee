"""What happened, in one order: events, log lines and the harness's own steps."""
