"""How work that takes long tells whoever watches."""

from __future__ import annotations

from collections.abc import Callable

#: Takes one line of text, without a newline.
Progress = Callable[[str], None]
