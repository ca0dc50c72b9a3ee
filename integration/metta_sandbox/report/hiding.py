"""No secret stays in the artifacts: text is masked, what is no text and holds one goes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from metta_sandbox.masking import MaskedStream, Masker
from metta_sandbox.wandb_file import log_records

#: Bytes that are read at once.
_PIECE = 2**20
#: Bytes in which a file shows that it is no text.
_LOOKED_AT = 8192
_TEXT = (".log", ".txt", ".json", ".jsonl", ".yaml", ".yml", ".html", ".xml", ".md", ".csv", ".py")
_BINARY = (".wandb", ".pt", ".pth", ".ckpt", ".safetensors", ".sqlite3", ".db", ".npz", ".pkl")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def hide_in(folder: Path, masker: Masker) -> tuple[str, ...]:
    """Mask secrets in all files of a folder that are text, and remove the others that hold one.

    No link is followed. Nothing is looked at where there are no secrets.

    Args:
        folder: What nodes and the harness have written.
        masker: Knows the secrets.

    Returns:
        What was removed, by its paths below the folder.

    Raises:
        OSError: A file that holds a secret can neither be changed nor removed.

    """
    if not masker:
        return ()
    left_out: list[str] = []
    problems: list[OSError] = []
    for root, folders, names, at in os.fwalk(folder, follow_symlinks=False):
        here = Path(root).relative_to(folder)
        for name in names:
            try:
                if _hide_in_file(name, at, masker):
                    left_out.append(str(here / _shown(name, masker)))
            except OSError as error:  # the others are as much in need of it
                problems.append(error)
        for index, name in enumerate(folders):
            try:
                if not _hide_in_link(name, at, masker):
                    folders[index] = _renamed(name, at, masker)
            except OSError as error:
                problems.append(error)
    if problems:
        raise problems[0]
    return tuple(sorted(left_out))


def _hide_in_file(name: str, at: int, masker: Masker) -> bool:
    """Hide what a file holds, and its name; tell whether it had to be removed."""
    if _hide_in_link(name, at, masker):
        return True
    try:
        file = os.open(name, _READ, dir_fd=at)
    except OSError:
        return False
    try:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode):
            return False
        head = os.pread(file, _LOOKED_AT, 0)
        text = name.endswith(_TEXT) or not (name.endswith(_BINARY) or b"\0" in head)
        if _holds_one(file, masker, name):
            if not text:
                os.unlink(name, dir_fd=at)
                return True
            _rewrite(file, name, at, about, masker)
    finally:
        os.close(file)
    _renamed(name, at, masker)
    return False


def _holds_one(file: int, masker: Masker, name: str) -> bool:
    held = b""
    for piece in _pieces(file):
        if masker.finds(held + piece):
            return True
        held = (held + piece)[-masker.longest :]
    if name.endswith(".wandb"):
        # Its records are cut at every 32 KiB.
        os.lseek(file, 0, os.SEEK_SET)
        with suppress(Exception):
            return any(map(masker.finds, log_records(b"".join(_pieces(file)))))
    return False


def _rewrite(file: int, name: str, at: int, about: os.stat_result, masker: Masker) -> None:
    part = f".{os.getpid()}.masked"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    _let_be_changed(at)
    target = os.open(part, flags, 0o600, dir_fd=at)
    try:
        with os.fdopen(target, "wb") as out:
            stream = MaskedStream(masker)
            for piece in _pieces(file):
                out.write(stream.feed(piece))
            out.write(stream.finish())
            with suppress(OSError):
                os.fchown(target, about.st_uid, about.st_gid)
            os.fchmod(target, stat.S_IMODE(about.st_mode))
        os.rename(part, name, src_dir_fd=at, dst_dir_fd=at)
    except BaseException:
        with suppress(OSError):
            os.unlink(part, dir_fd=at)
        raise


def _pieces(file: int) -> Iterator[bytes]:
    os.lseek(file, 0, os.SEEK_SET)
    while piece := os.read(file, _PIECE):
        yield piece


def _hide_in_link(name: str, at: int, masker: Masker) -> bool:
    """Remove a link that leads to where a secret names it."""
    try:
        leads = os.readlink(name, dir_fd=at)
    except OSError:
        return False
    if not masker.finds(os.fsencode(leads)):
        return False
    os.unlink(name, dir_fd=at)
    return True


def _renamed(name: str, at: int, masker: Masker) -> str:
    shown = _shown(name, masker)
    if shown != name:
        _let_be_changed(at)
        os.rename(name, shown, src_dir_fd=at, dst_dir_fd=at)
    return shown


def _shown(name: str, masker: Masker) -> str:
    return os.fsdecode(masker.mask(os.fsencode(name)))


def _let_be_changed(at: int) -> None:
    with suppress(OSError):
        os.fchmod(at, stat.S_IMODE(os.fstat(at).st_mode) | stat.S_IRWXU)
