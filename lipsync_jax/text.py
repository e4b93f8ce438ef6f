"""Escapes text for a terminal, names options in errors, and makes file names of any names."""

import contextlib
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping

_OPTION = re.compile(r"`([a-z][a-z0-9_]*)`")
_ELLIPSIS = "..."
_MAX_BYTES = 180  # of a file's name; file systems take 255, with suffixes and `.part`


def printable(text: object, limit: int = 0) -> str:
    """Escapes characters that move the cursor, change colours or cannot be shown.

    Args:
        text: a file name, a clip's name or a message; converted by `str`.
        limit: most characters of the text, 0 for all.

    Returns:
        One line: control characters, ANSI escape sequences, marks that reverse the direction of
        writing and undecodable bytes of file names are escaped as in Python, e.g. `\\x1b`.
    """
    shown_text = os.fspath(text) if isinstance(text, os.PathLike) else str(text)
    if limit and len(shown_text) > limit:
        shown_text = shown_text[: limit - len(_ELLIPSIS)] + _ELLIPSIS
    # isprintable() holds for no control, format or surrogate character.
    return shown_text if shown_text.isprintable() else "".join(map(_escape, shown_text))


def printable_lines(text: object) -> str:
    """Escapes a message of several lines, see `printable`."""
    return "\n".join(printable(line) for line in str(text).split("\n"))


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def split_words(text: str, name: str) -> list[str]:
    """Splits a text into words as a shell does, with quotation marks.

    Args:
        text: of words.
        name: of the option that the text is the value of.

    Raises:
        ValueError: a quotation mark is not closed, or nothing follows a last backslash.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        problem = str(error)[0].lower() + str(error)[1:]
        raise ValueError(
            f"{name} {text!r}: {problem}; close the quotation mark, or write \\ before a mark that "
            "is part of a word"
        ) from error


def spell_options(message: object, spelling: Mapping[str, str]) -> str:
    """Spells the options in an error's message as the user knows them.

    Errors of the library name an option by its field in backticks, such as `face_id`; a command
    line and a page have other names for the field.

    Args:
        message: converted by `str`.
        spelling: field -> its name here; fields without a name stay as they are.
    """
    return _OPTION.sub(lambda found: spelling.get(found[1], found[0]), str(message))


@contextlib.contextmanager
def naming_options(files: Mapping[str, object]) -> Iterator[None]:
    """Names the option of a file in errors whose message begins with the file's path.

        with naming_options({"face": face}):
            open_video(face)  # ValueError: `face` clip.mp4 has no video stream; ...

    Args:
        files: see `each_file`.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        message = str(error)
        names: dict[str, list[str]] = {}  # what the message may begin with -> names
        for name, path in each_file(files):
            for start in {os.fspath(path), os.path.abspath(path)}:
                names.setdefault(str(start), []).append(name)
        found = [start for start in names if re.match(re.escape(start) + r"([ :,]|$)", message)]
        if found and error.args == (message,):
            error.args = (f"{' and '.join(names[max(found, key=len)])} {message}",)
        raise


def each_file(files: Mapping[str, object]) -> Iterator[tuple[str, str | os.PathLike]]:
    """Yields the name and the path of each file.

    Args:
        files: field of an option -> path; or several, a list of them or of (number, path). Other
            values are no files.

    Yields:
        `field` in backticks, with the number if there is one; path.
    """
    for field, value in files.items():
        for item in value if isinstance(value, list | tuple) else [value]:
            number, path = item if isinstance(item, tuple) else ("", item)
            if isinstance(path, str | os.PathLike):
                yield f"`{field}` {number}".rstrip(), path


def unique_file_names(names: Iterable[str]) -> dict[str, str]:
    """Makes a distinct file name of each name, for files in one folder.

    Args:
        names: of clips, e.g. `speaker/clip`, `../clip`; unique.

    Returns:
        Name -> letters, digits, `-`, `_`, `.` and spaces, without a suffix such as .mp4; numbered
        from 2 where file names would be equal up to case.
    """
    unique_names: dict[str, str] = {}
    used: set[str] = set()
    for name in names:
        base = re.sub(r"[^\w\-. ]", "_", name).strip(". ") or "_"
        base = base.encode()[:_MAX_BYTES].decode(errors="ignore")
        candidate, number = base, 2
        while candidate.casefold() in used:
            candidate, number = f"{base}_{number}", number + 1
        used.add(candidate.casefold())
        unique_names[name] = candidate
    return unique_names
