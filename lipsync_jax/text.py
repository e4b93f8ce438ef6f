"""Text of files and of file names, made fit for a terminal."""

import os

_ELLIPSIS = "..."


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
