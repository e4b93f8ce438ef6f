"""The browser of tests, and what it says of a page's accessibility."""

import os
import shutil

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)


def assert_accessible(page):
    """Checks a page of playwright by axe-core: nothing serious, nothing critical."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    serious = [(v["id"], v["nodes"][0]["html"]) for v in found
               if v["impact"] in ("serious", "critical")]  # fmt: skip
    assert not serious
