"""Pages of docs/: their links lead somewhere, and no sentence stands in two places."""

import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
LINKED = [
    *PAGES,
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    ROOT / "RESPONSIBLE_USE.md",
    ROOT / "benchmarks" / "README.md",
]
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """Anchors of the headings, as forges and the site make them."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), target


@pytest.mark.parametrize("folder", ["how-to", "reference", "explanation"])
def test_every_page_is_listed_in_its_index(folder):
    folder = ROOT / "docs" / folder
    index = (folder / "index.md").read_text(encoding="utf-8")
    listed = {folder / link for link in re.findall(r"\]\(([^)\s#]+)\)", index)}
    assert {page for page in folder.rglob("*.md") if page.name != "index.md"} <= listed


def test_no_sentence_stands_on_two_pages():
    places = defaultdict(set)
    for page in PAGES:
        if page.parent.name == "models":  # a model card is read alone
            continue
        text = re.sub(r"\]\([^)]*\)", "]", prose(page))
        for block in re.split(r"\n\s*\n", text):
            if block.lstrip().startswith("|"):
                continue
            for sentence in re.split(r"(?<=[.:])\s", " ".join(block.split())):
                if len(sentence.split()) >= 8:
                    places[sentence].add(page.name)
    repeated = {sentence: pages for sentence, pages in places.items() if len(pages) > 1}
    assert not repeated
