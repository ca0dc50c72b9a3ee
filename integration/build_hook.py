"""Brings the report's charting library into the package when the package is built.

The library (Apache ECharts, Apache-2.0) is another's work, so it is not in this repository: it is
taken from the npm registry, by version and hash, into ``metta_sandbox/report/vendor``. Where the
registry can't be reached the package builds all the same, and reports have no charts.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VERSION = "6.1.0"
SHA256 = "b66b25aeb4df84e33199dc21694014d336d222cbd9deb0e5a7c14bd6aa0d0fd0"
#: Files of the npm package, and what they are called here.
FILES = {
    "package/dist/echarts.min.js": "echarts.min.js",
    "package/LICENSE": "echarts.LICENSE.txt",
    "package/NOTICE": "echarts.NOTICE.txt",
}
_PATIENCE = 60


class ChartsHook(BuildHookInterface[Any]):
    """Hatchling's hook, run before a wheel or an editable install is made."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Fetch the library unless it is there."""
        vendor = Path(self.root) / "integration" / "metta_sandbox" / "report" / "vendor"
        if is_there(vendor):
            return
        try:
            fetch(vendor)
        except (OSError, tarfile.TarError, ValueError) as error:
            self.app.display_warning(f"reports will have no charts: {error}")


def is_there(vendor: Path) -> bool:
    """Tell whether the library is there, whole and of the right version."""
    path = vendor / "echarts.min.js"
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == SHA256


def fetch(vendor: Path) -> None:
    """Take the library from the npm registry.

    Raises:
        OSError: The registry does not answer, or nothing can be written.
        ValueError: What it gave is not what it should be.

    """
    registry = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")
    url = f"{registry}/echarts/-/echarts-{VERSION}.tgz"
    with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:  # noqa: S310 - https, above
        archive = answer.read()
    contents = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as package:
        for member, name in FILES.items():
            found = package.extractfile(member)
            if found is None:
                raise ValueError(f"{url} has no {member}")
            contents[name] = found.read()
    if hashlib.sha256(contents["echarts.min.js"]).hexdigest() != SHA256:
        raise ValueError(f"{url} is not the release that was looked at")
    vendor.mkdir(exist_ok=True)
    for name, content in contents.items():
        draft = vendor / f"{name}.{os.getpid()}"
        draft.write_bytes(content)
        draft.replace(vendor / name)
