"""What runs inside a node: agent, rollout, hand-off, launchers, bundled arena trainer."""
