"""The contents of files, each under the name of its own digest.

So no name that a client chooses is ever a path, and what is sent twice is kept once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from metta_sandbox.services.wandb.database import Database, now

#: Bytes that one file may have.
LARGEST = 4 << 30


class TooLargeError(Exception):
    """More was sent than a file may have."""


@dataclass(frozen=True)
class Content:
    """What was sent as one file.

    Args:
        sha256: Its digest in hexadecimal digits, which is its name.
        md5: Another one, in base64, as manifests have it.
        size: Its bytes.

    """

    sha256: str
    md5: str
    size: int


class Blobs:
    """The folder of all contents.

    Args:
        folder: Where; made when missing.
        largest: Bytes that one may have.

    """

    def __init__(self, folder: Path, largest: int = LARGEST) -> None:
        self._folder = folder
        self.largest = largest
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Say where a content lies."""
        return self._folder / sha256

    async def take(self, chunks: AsyncIterator[bytes]) -> Content:
        """Keep what is being sent.

        Raises:
            TooLargeError: It is too much; nothing is kept.

        """
        sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
        part = self._folder / f".{secrets.token_hex(8)}.part"
        try:
            with part.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self.largest:
                        raise TooLargeError
                    sha256.update(chunk)
                    md5.update(chunk)
                    file.write(chunk)
            part.replace(self.path(sha256.hexdigest()))
        finally:
            part.unlink(missing_ok=True)
        return Content(sha256.hexdigest(), base64.b64encode(md5.digest()).decode(), size)


class Links:
    """Addresses of files, which only whoever was given them can know.

    Args:
        db: Where the secret is kept that makes them so.

    """

    def __init__(self, db: Database) -> None:
        with db.transaction():
            made = secrets.token_bytes(32)
            db.write("INSERT INTO meta VALUES ('secret', ?) ON CONFLICT DO NOTHING", made)
            self._secret: bytes = db.value("SELECT value FROM meta WHERE name = 'secret'")

    def sign(self, file: int) -> str:
        """Give what proves that a file's address was given."""
        return hmac.new(self._secret, str(file).encode(), "sha256").hexdigest()[:32]

    def proven(self, file: int, signature: str) -> bool:
        """Tell whether a file's address was given."""
        return hmac.compare_digest(self.sign(file), signature)


def register(db: Database, owner: str, owner_id: int, name: str, mimetype: str | None) -> int:
    """Give the number of a file of a run, an artifact or a manifest, which is made if new."""
    db.write(
        "INSERT INTO files (owner, owner_id, name, mimetype, updated_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        *(owner, owner_id, name, mimetype, now()),
    )
    return int(
        db.value(
            "SELECT id FROM files WHERE owner = ? AND owner_id = ? AND name = ?",
            *(owner, owner_id, name),
        )
    )
