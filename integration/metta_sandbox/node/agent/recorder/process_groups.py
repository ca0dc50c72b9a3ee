"""Notes the process groups of ``torch.distributed`` as they are asked for, and what came of it."""

import sys
from typing import Any, Callable, Dict, List

_MODULE = "torch.distributed.distributed_c10d"
Note = Callable[[str, Any], None]


def wrap(
    note: Note,
    noted: Callable[..., Any],
    environment: Callable[[], Dict[str, str]],
    start: Dict[str, str],
) -> None:
    """Let each group that is made be noted.

    Args:
        note: Writes a line.
        noted: See ``noted.noted``.
        environment: Gives what launchers tell ranks, as it is now.
        start: The same, as it was when this process began.

    """
    module: Any = sys.modules[_MODULE]
    counted: List[int] = []

    def before(name: str, args: Any, kwargs: Any) -> Dict[str, Any]:
        now = environment()
        if name == "init_process_group" and not counted:
            changed = {key: value for key, value in now.items() if start.get(key) != value}
            if changed:
                note("changed", changed)
        counted.append(1)
        about = _asked(name, args, kwargs)
        about.update(
            number=len(counted), addr=now.get("MASTER_ADDR", ""), port=now.get("MASTER_PORT", "")
        )
        note("group", about)
        return about

    def after(about: Dict[str, Any], *made: Any) -> None:
        if made:
            note("grouped", {"number": about["number"], **_made(module, *made)})

    for name in ("init_process_group", "new_group"):
        whole = getattr(module, name, None)
        if callable(whole):
            _replace(name, whole, noted(name, whole, before, after))


def _replace(name: str, old: Any, new: Any) -> None:
    """Put the new one wherever torch's own modules have the old one."""
    for key, module in list(sys.modules.items()):
        if key.startswith("torch.") and getattr(module, "__dict__", {}).get(name) is old:
            setattr(module, name, new)


def _asked(name: str, args: Any, kwargs: Any) -> Dict[str, Any]:
    """Describe the process group that is asked for, as far as its arguments tell."""
    if name == "new_group":
        ranks, _, backend = (*args, None, None, None)[:3]
        ranks, backend = kwargs.get("ranks", ranks), kwargs.get("backend", backend)
        size = len(ranks) if isinstance(ranks, (list, tuple)) else None
        return {"name": "", "backend": str(backend or ""), "size": size, "rank": None}
    backend = kwargs.get("backend", args[0] if args else None)
    size, rank = kwargs.get("world_size", -1), kwargs.get("rank", -1)
    return {
        "name": "0",
        "backend": str(backend or ""),
        "size": size if isinstance(size, int) and size >= 0 else None,
        "rank": rank if isinstance(rank, int) and rank >= 0 else None,
        "method": str(kwargs.get("init_method", args[1] if len(args) > 1 else "") or ""),
    }


def _made(module: Any, group: Any) -> Dict[str, Any]:
    """Describe the process group that was made."""
    if not isinstance(group, module.ProcessGroup):
        if group is not None:
            # This rank is none of its members.
            return {"rank": -1}
        group = module._get_default_group()  # noqa: SLF001 - no public name gives it
    return {
        "name": str(getattr(group, "group_name", "")),
        "size": int(group.size()),
        "rank": int(group.rank()),
        "backend": str(module.get_backend(group)),
    }
