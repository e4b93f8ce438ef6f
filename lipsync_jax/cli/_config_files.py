"""Finds configs by file or by name: `configs/wav2lip.py:tiny`, or just `wav2lip:tiny`."""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import ml_collections
from absl import flags
from ml_collections import config_flags

# What parsing flags raises for a wrong variant, key or type.
FLAG_ERRORS = (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError)

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
        ValueError: there is no such variant or key, or a value has the wrong type.
    """
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", flag_values=values)
    line = ["lipsync", f"--config={resolve(config)}", *overrides]
    before, sys.argv = sys.argv, line  # where config_flags looks for overrides
    try:
        rest = values(line)
        found = holder.value
    except FLAG_ERRORS as error:
        raise ValueError(f"--config={config} {' '.join(overrides)}: {sentence(error)}") from error
    finally:
        sys.argv = before
    if rest[1:]:
        raise ValueError(f"unexpected argument {rest[1]!r}")
    return found


def sentence(error: BaseException) -> str:
    """Formats a flag's error: absl quotes a whole traceback, of which the last line is kept."""
    text = str(error.args[0] if error.args else error).strip()
    if isinstance(error, KeyError | AttributeError):
        name, *hint = text.strip("\"'").replace("\\n", "\n").splitlines()
        name = name.strip("\"'\\")
        if name.replace(".", "_").isidentifier():
            hint_text = f" ({hint[-1]})" if hint else ""
            return f"the config has no setting {name!r}{hint_text}; the config's file lists all"
    lines = text.splitlines() or [type(error).__name__]
    return lines[-1].removeprefix("ValueError: ")
