"""Settings of the documentation site, which scripts/build_docs.py builds."""

import importlib
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import docs_reference  # noqa: E402

import lipsync_jax  # noqa: E402

project = "lipsync_jax"
author = "The lipsync_jax authors"
version = release = lipsync_jax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
myst_heading_anchors = 4
nb_execution_mode = "off"  # notebooks keep their outputs; tests run them
suppress_warnings = ["mystnb.unknown_mime_type"]  # widgets of progress bars have a text as well

default_role = "literal"  # docstrings have one backquote around code
smartquotes_action = "D"  # dashes between a name and its meaning; quotes stay plain
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # a field of a dataclass is then described once
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
# Names in modules of the reference must lead somewhere. Other names stay text: inventories of
# other packages are on the network.
PUBLIC = docs_reference.api_modules(ROOT)
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", rf"(?!(?:{'|'.join(map(re.escape, PUBLIC))})\.[A-Za-z]\w+$).*")]

html_context = {"default_mode": "auto"}  # light or dark as the reader's system
html_theme = "sphinx_book_theme"
html_title = "lipsync_jax"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_copy_source = False
html_theme_options = {
    "show_navbar_depth": 1,
    "home_page_in_toc": False,
    "navbar_persistent": [],
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
}


def _unwrap_compiled_functions() -> None:
    """Shows functions under jax.jit as what they are: autodoc takes plain functions only."""
    for name in PUBLIC:
        module = importlib.import_module(name)
        for attribute, value in list(vars(module).items()):
            if type(value).__name__ == "PjitFunction" and value.__module__ == name:
                setattr(module, attribute, value.__wrapped__)


def _as_restructured_text(app, what, name, obj, options, lines):
    """Turns the plain text of a docstring into reStructuredText.

    An indented paragraph after an unindented one becomes a block of code; |x| and * outside of
    backquotes are no markup.
    """
    written, code, block, before = [], False, False, ""
    for line in lines:
        indented = line.startswith("    ")
        if line.strip() and not indented:
            block = False
        if indented and not block and not written[-1] and before and not before.startswith(" "):
            written += [".. code-block:: text", ""]
            block = True
        if line.strip():
            before = line
        if not block:
            parts = line.split("`")
            for position, part in enumerate(parts):
                if not code and not part.lstrip().startswith("* "):
                    parts[position] = re.sub(r"(?<!\*)([*|])(?!\*)", r"\\\1", part)
                code ^= position < len(parts) - 1
            line = "`".join(parts)
        written.append(line)
    lines[:] = written


def setup(app):
    """Connects the hook; it runs before napoleon does."""
    app.connect("autodoc-process-docstring", _as_restructured_text, priority=400)


_unwrap_compiled_functions()
