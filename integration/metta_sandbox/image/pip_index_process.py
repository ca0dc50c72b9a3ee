"""Asks the indexes that pip is configured with, as a process of pip's own interpreter.

Run as a file with the interpreter of the user's own pip: reads questions as lines of JSON, several
of which are at work at once, and writes answers, each with its question's ``id``. pip's finder and
session do the asking, so mirrors, certificates, proxies, keyrings and the cache are the user's.
No code of a package runs here. Only what was listed before is fetched.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

# A script's folder comes first, and what lies beside this one is none of pip's business.
_HERE = Path(__file__).resolve().parent
sys.path[:] = [each for each in sys.path if Path(each).resolve() != _HERE]

#: How often an index that does not answer is asked again: nodes are to hear of it soon.
_RETRIES = 1
_AT_ONCE = 4
_MENDS = "python -m pip install --upgrade 'pip>=22.2'"
_ENDINGS = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz")
_METADATA = ".metadata"
_CHUNK = 1 << 20


class _LackError(Exception):
    """What is asked for can't be had; the text says why."""


class _Said(logging.Handler):
    """Keeps what pip says, in each thread, of why an index gave nothing."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._here = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith(("Could not fetch URL", "Skipping page")):
            self._here.lines = [*getattr(self._here, "lines", ()), text]

    def taken(self) -> list[str]:
        """Give what was said in this thread since this was last asked."""
        lines, self._here.lines = getattr(self._here, "lines", []), []
        return lines


class Indexes:
    """The indexes and folders of links that pip is configured with.

    pip promises nothing of its own code to anybody, so all that is needed of it is asked for here.

    Raises:
        Exception: This pip has not what is needed.

    """

    def __init__(self) -> None:
        from pip._internal.commands import create_command  # noqa: PLC0415 - it may not be there
        from pip._internal.index.collector import parse_links  # noqa: PLC0415
        from pip._internal.models.link import Link  # noqa: PLC0415
        from pip._internal.network.utils import HEADERS, response_chunks  # noqa: PLC0415
        from pip._vendor.packaging.utils import canonicalize_name  # noqa: PLC0415

        command: Any = create_command("install")
        options, _ = command.parse_args(["--no-input", "--disable-pip-version-check"])
        options.retries = min(options.retries, _RETRIES)
        self._session: Any = command._build_session(options)  # noqa: SLF001
        finder = command._build_package_finder(options, self._session)  # noqa: SLF001
        collector: Any = finder._link_collector  # noqa: SLF001
        self._fetch_page, self._sources = collector.fetch_response, collector.collect_sources
        self._parse, self._link = parse_links, Link
        self._headers, self._chunks = HEADERS, response_chunks
        self._canonical = canonicalize_name
        #: Each file that was listed, by its package and its name.
        self._links: dict[tuple[str, str], Any] = {}
        self._said = _Said()
        logger = logging.getLogger("pip._internal.index.collector")
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(self._said)

    def listed(self, name: str, also: Iterable[str]) -> dict[str, Any]:
        """Give the files of a package, of all indexes; further ones are those in ``also``."""
        self._said.taken()
        sources = self._sources(project_name=name, candidates_from_page=self._on_page)
        found: list[Any] = []
        for source in [*sources.find_links, *sources.index_urls]:
            if source is not None:
                found += [*source.file_links(), *source.page_candidates()]
        for index in also:
            found += self._on_page(self._link(f"{index.rstrip('/')}/{name}/"))
        listed: dict[str, dict[str, Any]] = {}
        for link in found:
            if link.filename in listed or not self._is_of(link.filename, name):
                continue
            self._links[name, link.filename] = link
            listed[link.filename] = {
                "file": link.filename,
                "sha256": _sha256_of(link),
                "requires_python": link.requires_python or "",
                "yanked": link.yanked_reason,
                "has_metadata": _metadata_of(link) is not None,
            }
        return {"listed": [*listed.values()], "said": self._said.taken()}

    def _on_page(self, link: Any) -> list[Any]:
        page = self._fetch_page(link)
        return [] if page is None else [*self._parse(page)]

    def _is_of(self, file: str, name: str) -> bool:
        """Tell whether a file is a package's; folders of links hold those of others, too."""
        stem = file.partition("-")[0] if file.endswith(".whl") else file.rpartition("-")[0]
        return file.endswith(_ENDINGS) and self._canonical(stem) == name

    def fetch(self, name: str, file: str, folder: Path) -> dict[str, Any]:
        """Bring a listed file into a folder, as DIGEST/NAME; gives its digest and size."""
        link = self._links.get((name, file))
        if link is None and file.endswith(_METADATA):
            wheel = self._links.get((name, file[: -len(_METADATA)]))
            link = None if wheel is None else _metadata_of(wheel)
        if link is None:
            raise _LackError("no index lists it")
        digest = hashlib.sha256()
        said = hashlib.new(link.hash_name) if link.hash_name else None
        descriptor, made = tempfile.mkstemp(dir=folder, prefix=".part-")
        part = Path(made)
        try:
            with os.fdopen(descriptor, "wb") as target:
                for chunk in self._read(link):
                    target.write(chunk)
                    digest.update(chunk)
                    if said:
                        said.update(chunk)
            if said and said.hexdigest() != link.hash:
                raise _LackError(f"its {link.hash_name} is not what the index says")
            part.chmod(0o644)
            size = part.stat().st_size
            place = folder / digest.hexdigest()
            place.mkdir(exist_ok=True)
            part.replace(place / file)
        finally:
            part.unlink(missing_ok=True)
        return {"sha256": digest.hexdigest(), "bytes": size}

    def _read(self, link: Any) -> Iterator[bytes]:
        if link.is_file:
            with Path(link.file_path).open("rb") as source:
                while chunk := source.read(_CHUNK):
                    yield chunk
            return
        url = link.url.partition("#")[0]
        with self._session.get(url, headers=self._headers, stream=True) as response:
            response.raise_for_status()
            yield from self._chunks(response)


def _sha256_of(link: Any) -> str:
    """Give the digest that an index tells, which is part of a path: nothing else may be in it."""
    told = link.hash if link.hash_name == "sha256" else ""
    return told if told and re.fullmatch("[0-9a-f]{64}", told) else ""


def _metadata_of(link: Any) -> Any:
    """Give where a wheel's metadata is to be had by itself, if pip knows of such a thing."""
    known = hasattr(link, "metadata_link") and link.filename.endswith(".whl")
    return link.metadata_link() if known else None


def answer(indexes: Indexes, asked: dict[str, Any]) -> dict[str, Any]:
    """Answer one question; whatever goes wrong is told."""
    try:
        if "list" in asked:
            return indexes.listed(asked["list"], asked["also"])
        return indexes.fetch(asked["fetch"], asked["file"], Path(asked["folder"]))
    except _LackError as error:
        return {"problem": str(error)}
    except Exception as error:  # noqa: BLE001 - pip raises what it likes
        return {"problem": f"{type(error).__name__}: {error}"}


def main() -> int:
    """Answer questions until there are no more."""
    # Only answers belong on standard output.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        indexes = Indexes()
    except Exception as error:  # noqa: BLE001 - nobody has promised that it can be imported
        import pip  # noqa: PLC0415

        what = f"{type(error).__name__}: {error}"
        problem = f"pip {pip.__version__} can't be asked which files a package has ({what})"
        answers.write(json.dumps({"id": 0, "problem": problem, "mends": _MENDS}) + "\n")
        return 1
    lock = threading.Lock()

    def work(asked: dict[str, Any]) -> None:
        told = {"id": asked["id"], **answer(indexes, asked)}
        with lock:
            answers.write(json.dumps(told) + "\n")

    pool = ThreadPoolExecutor(_AT_ONCE)
    for line in sys.stdin:
        pool.submit(work, json.loads(line))
    # Whoever asked has gone: what is being fetched is of no use any more.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
