"""Names and texts of files, made fit for a terminal, and names made fit for files."""

import os
import re
from collections.abc import Iterable

_ELLIPSIS = "..."
_MAX_BYTES = 180  # of a file's name; file systems take 255, with suffixes and `.part`


def printable(text: object, limit: int = 0) -> str:
    """Escapes what moves a cursor, changes colours or cannot be shown.

    Args:
        text: a file name, a clip's name, a message with either in it; `str` is taken of it.
        limit: characters that are kept, 0 for all.

    Returns:
        One line: control characters, ANSI escape sequences, marks that reverse the direction of
        writing and undecodable bytes of file names are written as Python writes them, e.g. `\\x1b`.
    """
    found = os.fspath(text) if isinstance(text, os.PathLike) else str(text)
    if limit and len(found) > limit:
        found = found[: limit - len(_ELLIPSIS)] + _ELLIPSIS
    # isprintable() holds for no control, format or surrogate character.
    return found if found.isprintable() else "".join(map(_escaped, found))


def printable_lines(text: object) -> str:
    """The same of a message that may have several lines."""
    return "\n".join(printable(line) for line in str(text).split("\n"))


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def file_names(names: Iterable[str]) -> dict[str, str]:
    """A file's name for each of some names, all in one folder and no two alike.

    Args:
        names: of clips, e.g. `speaker/clip`, `../clip`; unique.

    Returns:
        Name -> letters, digits, `-`, `_`, `.` and spaces, without a suffix such as .mp4; numbered
        from 2 where names differ in nothing else, or in capitals alone.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        base = re.sub(r"[^\w\-. ]", "_", name).strip(". ") or "_"
        base = base.encode()[:_MAX_BYTES].decode(errors="ignore")
        made, number = base, 2
        while made.casefold() in taken:
            made, number = f"{base}_{number}", number + 1
        taken.add(made.casefold())
        found[name] = made
    return found
