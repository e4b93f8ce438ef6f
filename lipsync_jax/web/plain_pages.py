"""The page of responsible use, without gradio."""

import importlib.metadata
from pathlib import Path

from markdown_it import MarkdownIt  # of rich

import lipsync_jax

_FILE = "RESPONSIBLE_USE.md"
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Responsible use</title>
<link rel="stylesheet" href="/lipsync/plain.css">
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def responsible_use() -> str:
    """Returns RESPONSIBLE_USE.md as HTML."""
    body = MarkdownIt().enable("table").render(_read())
    return _PAGE.format(body=body)


def _read() -> str:
    path = Path(lipsync_jax.__file__).parents[1] / _FILE  # of a clone
    if path.is_file():
        return path.read_text(encoding="utf-8")
    installed = importlib.metadata.files("lipsync_jax") or ()
    return next(file.read_text() for file in installed if file.name == _FILE)
