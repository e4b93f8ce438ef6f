"""The standard streams: closed ones, and characters that their encoding lacks."""

import io
import os
import sys


def prepare() -> None:
    """Lets every text be printed.

    What is printed to a closed stream (`>&-`) is discarded, and characters that the encoding of a
    stream lacks are escaped.
    """
    # A file that is opened later must not get a number that libraries print to.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
