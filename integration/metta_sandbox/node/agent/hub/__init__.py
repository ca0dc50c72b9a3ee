"""The hub, to which agents and harness connect, and who may say what there."""
