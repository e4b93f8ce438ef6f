"""Writes the repository of setup.py into the badges of the notebooks.

python scripts/write_badges.py
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_BADGE = re.compile(r"(?<=https://colab\.research\.google\.com/github/)[^/]+/[^/]+(?=/blob/)")


def repository() -> str:
    """Returns the value of REPOSITORY in setup.py, OWNER/NAME."""
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    found = re.search(r'^REPOSITORY = "([^"]+)"', text, re.MULTILINE)
    if not found or not re.fullmatch(r"[\w.-]+/[\w.-]+", found[1]):
        raise ValueError('setup.py must have the line REPOSITORY = "OWNER/NAME"')
    return found[1]


def with_badge(notebook: str, name: str) -> str:
    """Returns the text of a notebook whose badge opens the notebook of a repository."""
    return _BADGE.sub(name, notebook)


if __name__ == "__main__":
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        before = path.read_text(encoding="utf-8")
        after = with_badge(before, repository())
        if after != before:
            path.write_text(after, encoding="utf-8")
            print(path.relative_to(ROOT))
