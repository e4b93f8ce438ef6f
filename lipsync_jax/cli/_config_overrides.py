"""Checks `--config.key=value` against a config, before absl and ml_collections parse it."""

import ast
import difflib
import itertools
import re
from collections.abc import Sequence
from typing import Any

import ml_collections
from absl import flags
from ml_collections.config_flags import tuple_parser

from lipsync_jax.methods import fields

# Type of a field -> what absl parses its value with, and what the value must be.
_TYPES: dict[type, tuple[Any, str]] = {
    bool: (flags.BooleanParser(), "true or false"),
    int: (flags.IntegerParser(), "an integer"),
    float: (flags.FloatParser(), "a number"),
    tuple: (tuple_parser.TupleParser(), "values separated by commas"),
}
OVERRIDE = re.compile(r"-{1,2}(no)?config\.(?P<field>[^=]+)(=(?P<value>.*))?", re.DOTALL)


def check(config: ml_collections.ConfigDict, arguments: Sequence[str]) -> None:
    """Checks the names and the types of all fields that a command line sets.

    Args:
        config: without these changes.
        arguments: of the command line; all but `--config.key=value` are passed over.

    Raises:
        ValueError: there is no such field, or its value has another type; says which fields are
            near, or what was expected.
    """
    for argument, following in itertools.zip_longest(arguments, arguments[1:]):
        if not (found := OVERRIDE.fullmatch(argument)):
            continue
        name, value = found["field"], found["value"]
        current = _field(config, name)
        if value is None and not isinstance(current, bool):
            value = following
        if value is not None and (expected := _mismatch(current, value)):
            raise ValueError(f"--config.{name}={value}: expected {expected}, found {value!r}")


def _field(config: ml_collections.ConfigDict, name: str) -> Any:
    """Returns the value of a field; raises ValueError if there is none."""
    value: Any = config
    path = "config"
    for part in name.split("."):
        if not isinstance(value, ml_collections.ConfigDict):
            raise ValueError(f"--config.{name}: {path} is {value!r}, which has no fields")
        if part not in value:
            hint = _near(config, value, path, part)
            raise ValueError(f"--config.{name}: {path} has no field {part!r}; {hint}")
        value, path = value[part], f"{path}.{part}"
    return value


def _near(
    config: ml_collections.ConfigDict, block: ml_collections.ConfigDict, path: str, name: str
) -> str:
    """Returns which fields may be meant, or else those that there are."""
    near = [f"{path}.{each}" for each in difflib.get_close_matches(name, list(block))]
    elsewhere = [each for each in fields.flatten(config.to_dict()) if each.endswith(f".{name}")]
    if found := [*near, *elsewhere]:
        return f"did you mean {' or '.join(found[:3])}?"
    return f"there are {', '.join(sorted(block))}" if block else "the block is empty"


def _mismatch(current: Any, value: str) -> str:
    """Returns what a field's value must be; empty if the value is."""
    if isinstance(current, ml_collections.ConfigDict):
        try:
            is_block = isinstance(ast.literal_eval(value), dict)
        except (SyntaxError, ValueError):
            is_block = False
        names = ", ".join(sorted(current))
        return "" if is_block else f"one of the fields of this block to be set ({names or 'none'})"
    parser, expected = _TYPES.get(type(current), (None, ""))
    was = ",".join(map(str, current)) if isinstance(current, tuple) else str(current).lower()
    try:
        found = parser.parse(value) if parser else value
    except (TypeError, ValueError):
        return f"{expected} (it is {was} without this option)"
    # absl takes a tuple of anything.
    is_of_integers = isinstance(current, tuple) and all(isinstance(each, int) for each in current)
    if is_of_integers and not all(type(each) is int for each in found):
        return f"integers, separated by commas (it is {was} without this option)"
    return ""
