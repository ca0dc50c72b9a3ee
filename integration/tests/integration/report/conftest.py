"""A real headless browser for the report."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

#: Nothing of the browser's own may reach out while a page is watched.
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start the machine's own Chromium with a profile of its own."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        missing = "no Chromium here: apt-get install chromium"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(f"{missing}; in CI nothing may go untested")
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(_FLAGS))
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page, what it complained about, and what it asked for besides itself."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


Open = Callable[..., Opened]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Open a report as a reader would, all else blocked, and wait until it is drawn."""
    pages: list[Page] = []

    def open_one(file: Path, **how: Any) -> Opened:
        page = browser.new_page(**how)
        pages.append(page)
        opened = Opened(page)
        address = file.resolve().as_uri()

        def guard(route: Route) -> None:
            if route.request.url.partition("#")[0] == address:
                route.continue_()
            else:
                opened.requests.append(route.request.url)
                route.abort()

        page.route("**/*", guard)
        page.on("console", lambda message: opened.complaints.append(message.text))
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        page.goto(address)
        page.wait_for_selector("html[data-ready]", state="attached")
        return opened

    yield open_one
    for page in pages:
        page.close()
