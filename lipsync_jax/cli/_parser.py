"""The parser of every command: shows hyphens, accepts underscores and the names of 0.1."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from lipsync_jax import paths

# Accepted for one release, then dropped: the spelling of 0.1 -> the spelling now.
COMMANDS_OF_0_1 = {"generate": "dub", "delay": "av-correlation", "faces": "list-faces"}
OPTIONS_OF_0_1: Mapping[str, Mapping[str, str]] = {
    "demo": {"--people": "--identities"},
    "prepare": {
        "--geometry": "--crop",
        "--every": "--detect-every",
        "--min-face": "--min-face-height",
        "--min-rate": "--min-fps",
        "--max-missing": "--max-missing-fraction",
    },
    "synthetic": {"--geometry": "--crop", "--people": "--identities"},
    "dub": {
        "--batch": "--manifest",
        "--silence": "--silence-mode",
        "--alignment": "--audio-offset",
    },
    "animate": {"--batch": "--manifest"},
    "sync": {
        "--checkpoint-path": "--sync-model",
        "--fix": "--write-synced",
        "--shift": "--max-offset",
    },
    "evaluate": {
        "--judge": "--sync-model",
        "--show": "--report-clips",
        "--silent": "--silent-videos",
        "--order": "--filelist-order",
    },
    "av-correlation": {"--geometry": "--crop"},
    "doctor": {"--root": "--dir"},
}


def path(text: str) -> Path:
    """Parses a path of a command line, see `paths.parse`; errors are those of argparse."""
    try:
        return paths.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def checkpoint(text: str) -> Path:
    """Parses the path of a checkpoint, see `paths.parse_checkpoint`; errors are argparse's."""
    try:
        return paths.parse_checkpoint(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def count(text: str) -> int:
    """Parses a number from 0; errors are those of argparse."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0")
    return int(text)


class UsageError(SystemExit):
    """Ends the program with status 2, after the message was printed.

    Attributes:
        message: what is wrong with the command line.
    """

    def __init__(self, message: str) -> None:
        """Keeps the message."""
        super().__init__(2)
        self.message = message


class Parser(argparse.ArgumentParser):
    """Accepts `_` for `-` in the names of options, and renamed options by their old names.

    Add options with hyphens; only this spelling is shown.
    """

    def __init__(
        self, *args: Any, renamed: Mapping[str, str] | None = None, **settings: Any
    ) -> None:
        """Takes what `argparse.ArgumentParser` takes.

        Args:
            *args: of `argparse.ArgumentParser`.
            renamed: old -> new spelling of options, both with hyphens.
            **settings: of `argparse.ArgumentParser`.
        """
        super().__init__(*args, **settings)
        self._renamed = renamed or {}
        self.register("type", Path, path)  # of every option that is declared with type=Path

    def canonical(self, spelling: str) -> str:
        """Returns the shown spelling of an option, or the given one if no option has that name."""
        hyphens = spelling.replace("_", "-")
        name = self._renamed.get(hyphens, hyphens)
        known = any(option.startswith(name) for option in self._option_string_actions)
        return name if known else spelling  # --config.data.batch_size keeps its underscore

    def error(self, message: str) -> NoReturn:
        """Prints usage and message; raises UsageError."""
        try:
            super().error(message)
        except SystemExit:
            raise UsageError(message) from None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """See `argparse.ArgumentParser`."""
        return super().parse_known_args(
            self._canonical_line(sys.argv[1:] if args is None else args), namespace
        )

    def _canonical_line(self, line: Sequence[str]) -> list[str]:
        found: list[str] = []
        for position, argument in enumerate(line):
            if argument == "--":
                return [*found, *line[position:]]
            name, equals, value = argument.partition("=")
            if name.startswith("--"):
                argument = f"{self.canonical(name)}{equals}{value}"
            found.append(argument)
        return found


class QuietParser(Parser):
    """A parser whose errors are ValueErrors."""

    def error(self, message: str) -> NoReturn:
        """Raises ValueError."""
        raise ValueError(message)
