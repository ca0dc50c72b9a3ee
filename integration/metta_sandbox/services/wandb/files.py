"""Files of runs and artifacts, as queries see them."""

from __future__ import annotations

from typing import Any

from metta_sandbox.services.wandb.context import Context, Node
from metta_sandbox.services.wandb.database import Row
from metta_sandbox.services.wandb.ids import when


class File(Node):
    """A file.

    Args:
        context: The request's.
        row: The file's.
        artifact: Whose it is, if it is an artifact's.
        held: Whether its content is there already, so that nobody need send it.

    """

    kind = "File"

    def __init__(
        self, context: Context, row: Row, artifact: Any = None, *, held: bool = False
    ) -> None:
        super().__init__(context, row)
        self.artifact = artifact
        self.display_name = self.storage_path = row["name"]
        self.size_bytes = row["size"] or 0
        self.digest = row["md5"]
        self.updated_at = when(row["updated_at"])
        self.direct_url = context.address(row["id"])
        self.upload_url = None if held else self.direct_url
        self.upload_headers: list[str] = []
        self.upload_multipart_urls = None

    def url(self, upload: bool | None = None) -> str:
        """Say where it is read, or written, which is the same place."""
        del upload
        return self.direct_url
