"""Who may speak to a hub, as whom, and what. Pure.

In containers, who somebody is shows in where it speaks from: nothing of a stack may choose its
address, and on the hub's own loopback there is only the harness's relay. Local processes share one
address, so each has a secret, which it was given over standard input.
"""

from typing import Any, Dict, ForwardRef, Mapping, Tuple, Union, cast, get_args, get_origin

from metta_sandbox.node.agent.messages import OfAgent

#: Who is no node.
HARNESS = "harness"


def _shapes() -> Dict[str, Dict[str, Tuple[type, ...]]]:
    found: Dict[str, Dict[str, Tuple[type, ...]]] = {}
    for said in get_args(OfAgent):
        hints = said.__annotations__.items()
        # The types of what may be left out are given as texts.
        must = {key: _types(hint) for key, hint in hints if not isinstance(hint, ForwardRef)}
        kinds = get_args(said.__annotations__["type"])
        del must["type"]
        found.update((kind, must) for kind in kinds)
    return found


def _types(hint: Any) -> Tuple[type, ...]:
    kinds = get_args(hint) if get_origin(hint) is Union else (hint,)
    return tuple(get_origin(kind) or kind for kind in kinds)


#: What an agent says of its node once it is registered, and what each message must have.
_SAID = _shapes()


class Admission:
    """Knows who belongs to a stack.

    Args:
        nodes: Each host's address on the stack's network; empty where keys tell.
        keys: Each one's secret, the harness's among them; empty where addresses tell.

    """

    def __init__(self, nodes: Mapping[str, str], keys: Mapping[str, str]) -> None:
        self._nodes = nodes
        self._keys = keys

    def refusal(self, hello: Mapping[str, object], peer: str) -> str:
        """Say why somebody may not come in as whom it says it is, or nothing.

        Args:
            hello: The first that it said.
            peer: The address that it speaks from; empty over a local socket.

        """
        kind = hello.get("type")
        if kind not in (HARNESS, "nodes", "registered"):
            return f"{_short(kind)} is no beginning"
        name = hello.get("node") if kind == "registered" else HARNESS
        if kind == "registered" and not (isinstance(name, str) and name in self._nodes):
            return f"{_short(name)} is no node of this stack"
        if peer and not self._belongs(str(name), peer):
            return f"{name} does not speak from {peer}"
        # Who is there, anybody may ask who reaches the socket.
        if not peer and kind != "nodes" and not self._proves(str(name), hello.get("key")):
            return f"whoever says it is {name} does not know its secret"
        return ""

    def _belongs(self, name: str, peer: str) -> bool:
        if name == HARNESS:
            return peer in ("127.0.0.1", "::1")
        return self._nodes[name] in ("", peer)

    def _proves(self, name: str, key: object) -> bool:
        import hmac  # noqa: PLC0415 - where addresses tell, a node starts sooner without

        known = self._keys.get(name, "")
        said = key if isinstance(key, str) else ""
        return bool(known) and hmac.compare_digest(known.encode(), said.encode("utf-8", "replace"))


def require_sayable(message: Mapping[str, object]) -> OfAgent:
    """Return what an agent says, if it is an agent's to say.

    Raises:
        ValueError: It is not, or not in this shape.

    """
    kind = message.get("type")
    shape = _SAID.get(kind) if isinstance(kind, str) else None
    if shape is None:
        raise ValueError(f"{_short(kind)} is not an agent's to say")
    for key, types in shape.items():
        if not isinstance(message.get(key), types):
            raise ValueError(f"{kind} without {key}")
    return cast(OfAgent, message)


def named(words: Tuple[str, ...]) -> Dict[str, str]:
    """Read ``NAME`` or ``NAME=ADDRESS`` of each node."""
    return {name: address for name, _, address in (word.partition("=") for word in words)}


def _short(value: object) -> str:
    return repr(value)[:80]
