"""Builds the documentation site from docs/, the notebooks and the code.

    python scripts/build_docs.py                      build/docs/html; warnings are errors
    python scripts/build_docs.py --builder linkcheck  follows the links to other hosts, too

Pages are copied to build/docs/source, where generated pages join them: docs/ holds nothing
that is generated, and its links work on a forge as well as in the site.
"""

import argparse
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import docs_reference

ROOT = Path(__file__).resolve().parents[1]
# Files outside of docs/ that are pages of the site.
PAGES = {
    "benchmarks/README.md": "benchmarks.md",
    "RESPONSIBLE_USE.md": "responsible-use.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/space/README.md": "hosted-page.md",
}
LINK = re.compile(r"(?<=\]\()([^)\s#]+)(?=[#)])")


def stage(target: Path) -> None:
    """Writes the sources of the site.

    Args:
        target: an empty or absent folder.
    """
    places = {ROOT / file: target / page for file, page in PAGES.items()}
    for folder, place in (("docs", target), ("notebooks", target / "tutorials")):
        for file in sorted((ROOT / folder).rglob("*")):
            if file.suffix in (".md", ".ipynb", ".jpg", ".png", ".svg", ".css"):
                places[file] = place / file.relative_to(ROOT / folder)
    for file, place in places.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix in (".md", ".ipynb"):
            text = LINK.sub(_relink(file, place, places, target), file.read_text("utf-8"))
            place.write_text(text, encoding="utf-8")
        else:
            shutil.copyfile(file, place)
    docs_reference.write(ROOT, target / "reference")
    for index in sorted(target.rglob("index.md")):
        _append_contents(index)


def _relink(
    file: Path, place: Path, places: dict[Path, Path], target: Path
) -> Callable[[re.Match[str]], str]:
    """Returns a function that adapts a relative link of `file` to where pages lie in the site."""

    def adapt(match: re.Match[str]) -> str:
        source = (file.parent / match[1]).resolve()
        if not source.is_file():  # an address
            return match[1]
        if source not in places:  # another file of the repository: a download
            copy = target / "files" / source.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            return os.path.relpath(copy, place.parent)
        return os.path.relpath(places[source], place.parent)

    return adapt


def _append_contents(index: Path) -> None:
    """Makes the pages that an index links to, and that lie below it, its table of contents."""
    text = index.read_text(encoding="utf-8")
    linked = [link for link in LINK.findall(text) if not re.match(r"\.\.|\w+:", link)]
    if index.parent.name == "source":
        parts = [link for link in linked if link.endswith("/index.md")]
        linked = [*parts, "results.md", *sorted(PAGES.values())]
    elif index.parent.name == "reference":
        linked += ["cli/index", "configs/index", "api/index"]
    entries = "\n".join(dict.fromkeys(re.sub(r"\.(md|ipynb)$", "", link) for link in linked))
    if entries:
        index.write_text(f"{text}\n```{{toctree}}\n:hidden:\n\n{entries}\n```\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Builds the site; returns Sphinx's exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "docs", help="folder to write")
    parser.add_argument("--builder", default="html", help="html, linkcheck or another of Sphinx")
    arguments = parser.parse_args(argv)
    try:
        from sphinx.cmd.build import main as sphinx
    except ImportError:
        parser.error("Sphinx is missing: pip install -e '.[docs]'")
    source = arguments.out / "source"
    shutil.rmtree(source, ignore_errors=True)
    stage(source)
    options = ["-W", "--keep-going", "-q", "-c", str(ROOT / "docs")]
    options += ["-d", str(arguments.out / "doctrees")]
    output = arguments.out / arguments.builder
    return sphinx([*options, "-b", arguments.builder, str(source), str(output)])


if __name__ == "__main__":
    sys.exit(main())
