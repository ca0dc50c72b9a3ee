"""A scenario being played: plan, stack, events, timeline, verdict."""
