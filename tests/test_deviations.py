"""docs/explanation/deviations.md and the comments at the lines that deviate name the same rows."""

import re
from pathlib import Path

from lipsync_jax.cli import _config_files
from lipsync_jax.methods import fields

ROOT = Path(__file__).parents[1]
# "deviation W1", "Deviations S1 (Adam), S2 and S8"
MENTION = re.compile(r"[Dd]eviations? ((?:[A-Z]\d+(?: \([^)]*\))?(?:, | and )?)+)")


def test_every_row_has_its_comment_and_every_comment_its_row():
    table = (ROOT / "docs" / "explanation" / "deviations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Z]\d+) \|", table, re.MULTILINE)
    assert len(rows) == len(set(rows)) > 40
    named = set()
    for folder in ("configs", "lipsync_jax"):
        for path in (ROOT / folder).rglob("*.py"):
            text = re.sub(r"\s+(#\s*)?", " ", path.read_text(encoding="utf-8"))
            for mention in MENTION.findall(text):
                named |= set(re.findall(r"\b[A-Z]\d+\b", mention))
    assert named == set(rows)


def test_every_row_of_the_table_has_all_columns():
    table = (ROOT / "docs" / "explanation" / "deviations.md").read_text(encoding="utf-8")
    for row in re.findall(r"^\| [A-Z]\d+ \|.*$", table, re.MULTILINE):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 5 and all(cells), row


def test_the_fields_that_get_a_papers_behaviour_exist():
    table = (ROOT / "docs" / "explanation" / "deviations.md").read_text(encoding="utf-8")
    ways = [row.rpartition("|")[2] for row in re.findall(r"^\| [A-Z]\d+ .*(?= \|$)", table, re.M)]
    overrides = re.findall(r"--config\.([\w.]+)=([\w.-]+)", " ".join(ways))
    assert len(overrides) > 15
    known = {
        field: value
        for name in _config_files.names()
        for field, value in fields.flatten(_config_files.read(name).to_dict(), "").items()
    }
    for field, value in overrides:
        type(known[field])(value)  # a field of some config, and a value of its type
