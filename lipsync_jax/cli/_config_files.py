"""Finds configs by file or by name: `configs/wav2lip.py:tiny`, or just `wav2lip:tiny`."""

import importlib.util
import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import ml_collections
from absl import flags
from ml_collections import config_flags

from lipsync_jax.cli import _config_overrides
from lipsync_jax.cli._terminal import TRACEBACK_VARIABLE

# What parsing flags raises for a wrong variant, field or value.
_FLAG_ERRORS = (flags.Error, TypeError, ValueError, OSError)

_PACKAGE = "lipsync_jax.configs"  # where an installation keeps the repository's configs/
_SHARED = {"__init__", "common"}


def names() -> dict[str, Path]:
    """Returns name -> file of every installed config."""
    try:
        spec = importlib.util.find_spec(_PACKAGE)
    except ModuleNotFoundError:
        spec = None
    folders = map(Path, (spec.submodule_search_locations if spec else None) or ())
    files = sorted(file for folder in folders for file in folder.glob("*.py"))
    return {file.stem: file for file in files if file.stem not in _SHARED}


def resolve(config: str) -> str:
    """Resolves a config to its file and variant.

    Args:
        config: a file or the name of an installed config, optionally with `:variant`.

    Returns:
        `FILE[:VARIANT]`.

    Raises:
        FileNotFoundError: there is neither such a file nor such a config.
    """
    name, colon, variant = _split(config)
    known = names()
    if name in known:
        return f"{known[name]}{colon}{variant}"
    file = Path(name)
    if file.is_file():
        return config
    if file.suffix == ".py" and not file.is_absolute() and file.stem in known:
        return f"{known[file.stem]}{colon}{variant}"  # `configs/wav2lip.py` outside the repository
    raise FileNotFoundError(
        f"--config={config}: there is no file {file} here ({Path.cwd()}) and no config of that "
        f"name; give the path of a config file or one of {', '.join(known)}"
    )


def label(config: str) -> str:
    """Returns a name for a run of this config: `wav2lip`, or `wav2lip-tiny` for a variant."""
    name, _, variant = _split(config)
    return "-".join(filter(None, (Path(name).stem, variant.replace("/", "_"))))


def _parse(line: Sequence[str]) -> tuple[ml_collections.ConfigDict, list[str]]:
    """Returns the config of a command line, and what of the line is no flag."""
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", flag_values=values)
    before, sys.argv = sys.argv, [*line]  # where config_flags looks for overrides
    try:
        rest = values(sys.argv)
        config = holder.value
        config.lock()  # raises what the file has raised
        return config, rest
    finally:
        sys.argv = before


def variant(config: str) -> str:
    """Returns the variant of a config, the text after the colon."""
    return _split(config)[2]


def _split(config: str) -> tuple[str, str, str]:
    drive, rest = config[:2], config[2:]
    if drive[1:] == ":" and rest[:1] in ("\\", "/"):  # C:\configs\wav2lip.py:tiny
        name, colon, variant = rest.partition(":")
        return drive + name, colon, variant
    return config.partition(":")


def resolve_arguments(arguments: Sequence[str]) -> list[str]:
    """Resolves the value of `--config` in command-line arguments.

    Raises:
        FileNotFoundError: see `resolve`.
    """
    found, is_value = [], False
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if is_value:
            argument = resolve(argument)
        elif flag in ("--config", "-config") and equals:
            argument = f"{flag}={resolve(value)}"
        is_value = argument in ("--config", "-config")
        found.append(argument)
    return found


def read(config: str, overrides: Sequence[str] = ()) -> ml_collections.ConfigDict:
    """Reads a config as main.py does.

    Args:
        config: see `resolve`.
        overrides: arguments of the form `--config.key=value`.

    Raises:
        FileNotFoundError: there is no such file or name.
        ValueError: there is no such variant or field, or a value has the wrong type.
    """
    line = ["lipsync", f"--config={resolve(config)}", *overrides]
    try:
        check_overrides(line)
        found, rest = _parse(line)
    except Exception as error:  # the config file is any Python
        raise ValueError(sentence(error)) from error
    if rest[1:]:
        raise ValueError(f"unexpected argument {rest[1]!r}")
    return found


def check_overrides(arguments: Sequence[str]) -> None:
    """Checks `--config.key=value` in arguments that `resolve_arguments` has returned.

    Raises:
        ValueError: see `_config_overrides.check`.
    """
    given = None
    for argument, following in itertools.zip_longest(arguments, arguments[1:]):
        flag, equals, value = argument.partition("=")
        if flag in ("--config", "-config"):
            given = value if equals else following
    if given is not None and any(map(_config_overrides.OVERRIDE.fullmatch, arguments)):
        config, _ = _parse(["lipsync", f"--config={given}"])
        _config_overrides.check(config, arguments)


def sentence(error: Exception) -> str:
    """Formats what reading a config has raised.

    Raises:
        Exception: the error, if it is no flag's and LIPSYNC_TRACEBACK is set.
    """
    if not isinstance(error, _FLAG_ERRORS):
        if os.environ.get(TRACEBACK_VARIABLE):
            raise error
        return (
            f"the config can't be read, {type(error).__name__}: {error}; correct the file "
            f"({TRACEBACK_VARIABLE}=1 shows the line)"
        )
    # absl quotes a whole traceback, of which the last line is kept.
    lines = str(error.args[0] if error.args else error).strip().splitlines()
    last = lines[-1].removeprefix("ValueError: ") if lines else type(error).__name__
    if last.startswith("TypeError: get_config() takes 0 positional arguments"):
        return "the config of --config has no variants: leave out the colon and what follows"
    return last
