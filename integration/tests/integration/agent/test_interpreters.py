"""The app that travels, under every interpreter it may meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.agent.conftest import SmallStack


def test_it_works_without_anything_installed(stack: SmallStack, any_python: str) -> None:
    stack.python = [any_python, "-I", "-S", "-W", "error"]
    harness = stack.up("a", "b")
    for node in ("a", "b"):
        harness.arm(node, pause={"event": "none"})
        harness.start(node, "trial-1", stack.rank("print('trained'); raise SystemExit(3)"))
        end = harness.wait("exit", node=node)
        assert (end["status"], end["ranks"][0]["status"]) == (3, 3)
    assert harness.lines("rank-0").count("trained") == 2
    # Both nodes flood at once a harness that does not receive: see Outlet.
    flood = "import sys; sys.stdout.write(('x' * 8000 + '\\n') * 4000)"
    for node in ("a", "b"):
        harness.start(node, "flood", stack.script(flood))
    for node in ("a", "b"):
        assert harness.wait("exit", node=node, group="flood")["status"] == 0
        assert "Traceback" not in stack.log(node)
    assert not harness.find("lost")
    harness.link.close()
