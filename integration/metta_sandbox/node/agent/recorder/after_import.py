"""Something that is to be done as soon as somebody else has imported a module."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # ``typing`` takes long to import, and this is in every interpreter of a job
    from typing import Any, Callable, Optional, Sequence


def after_import(name: str, call: Callable[[], None]) -> None:
    """Call at once if a module is there, or else when it has been imported for the first time."""
    if name in sys.modules:
        call()
    else:
        sys.meta_path.insert(0, _AfterImport(name, call))


class _AfterImport:
    """A finder that lets a module be found as ever, and calls once it has been imported."""

    def __init__(self, name: str, call: Callable[[], None]) -> None:
        self._name = name
        self._call = call

    def find_spec(
        self, name: str, path: Optional[Sequence[str]] = None, target: Any = None
    ) -> Optional[Any]:
        """Find the module through the other finders, once."""
        if name != self._name or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                self._follow(spec.loader)
                return spec
        return None

    def _follow(self, loader: Any) -> None:
        whole = loader.exec_module

        def exec_module(module: Any) -> None:
            whole(module)
            self._call()

        loader.exec_module = exec_module
