"""The site: builds without a warning, is complete, and asks no other host for anything."""

import html
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lipsync_jax.cli import _config_files
from lipsync_jax.cli import main as cli
from lipsync_jax.methods import fields

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("sphinx_book_theme") is None,
        reason="pip install 'lipsync_jax[docs]'",
    ),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "scripts/build_docs.py", "--out", out],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out / "html"


def text(page: Path) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


def test_no_page_loads_anything_from_another_host(site):
    loads = re.compile(
        r"<(?:script|link|img|iframe|source|video|audio)\b[^>]*?(?:src|href)=[\"'](?:https?:)?//"
    )
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    for page in pages:
        assert not loads.search(page.read_text(encoding="utf-8")), page
    for sheet in site.rglob("*.css"):
        content = sheet.read_text(encoding="utf-8")
        assert not re.search(r"(?:url\(|@import )[\"']?(?:https?:)?//", content), sheet


def test_every_command_and_option_is_in_the_reference(site):
    for name in cli.COMMANDS:
        page = text(site / "reference" / "cli" / f"{name}.html")
        parser = cli.build_parser([name])._subparsers._group_actions[0].choices[name]
        for action in parser._actions:
            for option in action.option_strings[-1:]:
                assert option in page or option == "--help", (name, option)
    for name in cli.ABSL_COMMANDS:
        assert "--workdir" in text(site / "reference" / "cli" / f"{name}.html")


def test_every_field_is_in_the_reference(site):
    for name in _config_files.names():
        page = text(site / "reference" / "configs" / f"{name}.html")
        for field in fields.flatten(_config_files.read(name).to_dict()):
            assert field in page, (name, field)


def test_every_listed_module_has_a_page_with_its_docstring(site):
    listed = (ROOT / "docs" / "reference" / "modules.md").read_text(encoding="utf-8")
    names = re.findall(r"`(lipsync_jax\.[\w.]+)`", listed)
    assert len(names) > 25
    for name in names:
        module = importlib.import_module(name)
        page = text(site / "reference" / "api" / f"{name}.html")
        assert module.__doc__.split(".")[0].split("\n")[0].split("`")[0] in page, name
