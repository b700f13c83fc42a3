"""A real Chromium over a page: what it showed, asked for and said."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip


def needs_browser() -> Any:
    """Skip, with the reason, where there is no browser to test in."""
    if not CHROMIUM:
        pytest.skip("no Chromium: apt-get install chromium")
    return pytest.importorskip("playwright.sync_api", reason="pip install -e '.[browser]'")


class Watched:
    """A page that remembers every dialog, request, error and complaint."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.dialogs: list[str] = []
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.on("dialog", self._dialog)
        page.on("request", lambda r: self.requests.append(r.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._console)

    def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def open(self, url: str, *, hash: str = "") -> None:
        """Go to a page, and wait until it is ready."""
        self.page.goto("about:blank")  # else a new hash alone loads nothing
        self.page.goto(url + hash)
        self.page.wait_for_selector("html[data-ready]", timeout=30_000)

    def left(self) -> list[str]:
        """Requests for anything but files of this disk and what the page made itself."""
        return [u for u in self.requests if not u.startswith(("file:", "data:", "blob:", "about:"))]

    def press(self, *keys: str) -> None:
        """Keys, one after the other, on the page and not in a field."""
        for key in keys:
            self.page.keyboard.press(key)

    def texts(self, selector: str) -> list[str]:
        """The text of every element."""
        return [text.strip() for text in self.page.locator(selector).all_inner_texts()]

    def counted(self, text: str) -> None:
        """Wait until the list says so."""
        self.page.wait_for_selector(f'#count:text-is("{text}")')

    def name(self, author: str) -> None:
        """Answer the page's question who is there."""
        self.page.fill("#author", author)
        self.page.keyboard.press("Enter")


@contextmanager
def browser() -> Iterator[Any]:
    """A Chromium of its own."""
    with needs_browser().sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield chromium
        chromium.close()


def rows(path: Path) -> list[str]:
    """The lines of a file; none where there is no file."""
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
