"""Make a picture of a page: ``python -m tests.screenshot PAGE PICTURE [WIDTH] [HEIGHT]``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

#: A browser that neither needs a display nor looks for a network.
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


def main(page: str, picture: str, width: str = "1400", height: str = "1900") -> None:
    """Open a local page offline and save what its first screen shows."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(ARGUMENTS))
        size = {"width": int(width), "height": int(height)}
        tab = browser.new_page(viewport={"width": size["width"], "height": size["height"]}, color_scheme="light")
        tab.context.set_offline(True)
        tab.goto(Path(page).resolve().as_uri())
        tab.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
