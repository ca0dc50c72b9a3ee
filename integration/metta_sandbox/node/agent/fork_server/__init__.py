"""Template processes that have imported torch once, and what is forked from them on a node."""
