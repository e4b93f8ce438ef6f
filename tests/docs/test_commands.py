"""Every command and every example of the pages is what the code accepts."""

import ast
import contextlib
import doctest
import io
import re
import shlex
from pathlib import Path

import pytest

from lipsync_jax.cli import _config_files, train
from lipsync_jax.cli import main as cli
from tests.helpers import imports

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ABSL = ("python main.py", *(f"lipsync {name}" for name in cli.ABSL_COMMANDS))


def blocks(page: Path, language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text("utf-8")) if found == language]


def commands():
    for page in PAGES:
        for text in blocks(page, ""):
            for line in text.replace("\\\n", " ").splitlines():
                if line.startswith(("lipsync ", "python main.py")) and ":" not in line.split()[1]:
                    yield pytest.param(line, id=f"{page.stem}: {' '.join(line.split())[:60]}")


@pytest.mark.parametrize("line", commands())
def test_commands_are_accepted_by_the_parser(line):
    words = shlex.split(line.split(" > ")[0], comments=True)
    if line.startswith(ABSL):
        named = [word for word in words if word.startswith("--") and "--config" not in word]
        known = train.flags.FLAGS
        for word in named:
            name = word[2:].partition("=")[0].replace("-", "_")
            assert name in known or name.removeprefix("no") in known, word
        given = [word for word in words if word.startswith("--config=")]
        if given and given[0] != "--config=...":
            overrides = [word for word in words if word.startswith("--config.")]
            _config_files.read(given[0].removeprefix("--config="), overrides)
        return
    parser = cli.build_parser([words[1]])
    with contextlib.redirect_stderr(io.StringIO()) as error:
        try:
            arguments, rest = parser.parse_known_args(words[1:])
        except SystemExit:
            pytest.fail(error.getvalue())
    if getattr(arguments, "takes_overrides", False):
        _config_files.read(arguments.config, rest)
    else:
        assert not rest


def examples():
    for page in PAGES:
        for number, text in enumerate(blocks(page, "python")):
            yield pytest.param(text, id=f"{page.stem}-{number}")


@pytest.mark.parametrize("text", examples())
def test_python_examples_import_what_exists(text):
    imports.import_names(ast.parse(text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_interactive_examples_give_what_they_show(page):
    failed, _ = doctest.testfile(
        str(page), module_relative=False, encoding="utf-8", optionflags=doctest.ELLIPSIS
    )
    assert not failed
