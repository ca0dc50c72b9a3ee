"""What imports have remembered of the folder in which they ran, so that a fork can run in another.

Modules keep paths below the home, the folder for temporary files and the working folder when they
are imported. A process that imported them for others lets each of those others find its own there.
"""

import gc
from types import ModuleType
from typing import Any, Callable, Dict, Iterator, List, Tuple

#: Puts a text where one was found.
Put = Callable[[str], None]
Place = Tuple[str, Put]


def places(folder: str) -> Tuple[List[Place], List[str]]:
    """Find every text of this process that names a folder, or something below it.

    Args:
        folder: The whole path; nothing else may be called so.

    Returns:
        Texts, each with what puts another in its place; and where texts are that can't be replaced.

    """
    found: List[Place] = []
    fixed: List[str] = []
    own = (found, fixed)
    for container in _containers():
        if any(container is each for each in own):
            continue
        texts = [
            each
            for each in gc.get_referents(container)
            if type(each) is str and folder in each and each is not folder
        ]
        if texts:
            here = list(_within(container, folder))
            found += here
            if len(here) < len(texts):
                fixed.append(f"{type(container).__module__}.{type(container).__qualname__}")
    return found, fixed


def _containers() -> Iterator[Any]:
    """Give every object that may hold others.

    Those that hold nothing but texts and numbers are not tracked, and are found through others.
    """
    seen = set()
    for container in gc.get_objects():
        yield container
        pending = [container]
        while pending:
            for each in gc.get_referents(pending.pop()):
                untracked = type(each) in (dict, tuple) and not gc.is_tracked(each)
                if untracked and id(each) not in seen:
                    seen.add(id(each))
                    pending.append(each)
                    yield each


def _within(container: Any, folder: str) -> Iterator[Place]:
    """Find the texts that one object holds itself, and that can be replaced.

    Nothing is asked of the object but what its type is: some warn, or import more, when asked.
    """
    kind = type(container)
    if issubclass(kind, dict):
        for key, value in list(container.items()):
            if _names(value, folder):
                yield value, _item(container, key)
    elif issubclass(kind, list):
        for index, value in enumerate(container):
            if _names(value, folder):
                yield value, _item(container, index)
    elif not issubclass(kind, (ModuleType, type, tuple, set, frozenset)):
        for name, value in _attributes(container).items():
            if _names(value, folder):
                yield value, _attribute(container, name)


def _names(value: Any, folder: str) -> bool:
    return type(value) is str and folder in value


def _attributes(thing: Any) -> Dict[str, Any]:
    slots = [
        name
        for kind in type(thing).__mro__
        for name in _as_tuple(kind.__dict__.get("__slots__", ()))
        if name not in ("__dict__", "__weakref__")
    ]
    found = {}
    for name in (*slots, "__dict__"):
        try:
            found[name] = object.__getattribute__(thing, name)
        except AttributeError:
            continue
    return {**found, **found.pop("__dict__", {})}


def _as_tuple(slots: Any) -> Tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _item(container: Any, key: Any) -> Put:
    def put(text: str) -> None:
        container[key] = text

    return put


def _attribute(thing: Any, name: str) -> Put:
    def put(text: str) -> None:
        object.__setattr__(thing, name, text)

    return put
