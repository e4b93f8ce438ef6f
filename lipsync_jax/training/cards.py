"""The card of a checkpoint: what JSON it may be. Files of strangers are read here."""

import json
import math
from pathlib import Path

from lipsync_jax.data.clip import GEOMETRIES
from lipsync_jax.text import printable
from lipsync_jax.types import Json

_MAX_BYTES = 4 << 20
_MAX_DEPTH = 16  # of dicts and lists within each other
_MAX_NUMBER = 200_000  # in a network's fields: sizes, numbers of layers, sample rates
_MAX_LIST = 64  # in a network's fields
_MAX_RATE = 1000  # frames a second


def read(folder: Path) -> dict[str, Json]:
    """Reads the card of a checkpoint.

    Args:
        folder: of the checkpoint itself.

    Returns:
        JSON values. `config` is a dict with a `method`; what networks are built from has sizes
        that a network can have. Whether a method takes them is for the method to say.

    Raises:
        FileNotFoundError: it has no card.
        ValueError: it is no card of a checkpoint; names the checkpoint and what is wrong.
    """
    path = folder / "card" / "metadata"
    if not path.is_file():
        raise FileNotFoundError(
            f"checkpoint {folder} has no card/metadata: copy the whole folder again"
        )
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"has more than {_MAX_BYTES >> 20} MB")
        card = json.loads(path.read_text(encoding="utf-8"))
        _check(card)
    except (RecursionError, ValueError) as error:  # JSONDecodeError and UnicodeDecodeError too
        raise ValueError(
            f"checkpoint {folder}: its card/metadata {_fault(error)}; copy the folder again, or "
            "convert or train it anew"
        ) from error
    return card


def _fault(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return f"is no JSON ({printable(error, 200)})"
    return printable(error, 200)


def _check(card: Json) -> None:
    _require(isinstance(card, dict), "is no JSON object")
    _check_depth(card)
    config = card.get("config")
    _require(isinstance(config, dict), "has no config")
    stored = config  # of any version: fields may be missing
    method = stored.get("method")
    _require(isinstance(method, str) and method.isidentifier(), "names no method in its config")
    _check_fields(config, "config", of_network=False)
    data = stored.get("data", {})
    _require(isinstance(data, dict), "has a config.data that is no object")
    if "geometry" in data:
        known = isinstance(data["geometry"], str) and data["geometry"] in GEOMETRIES
        _require(known, f"has a config.data.geometry that is none of {', '.join(GEOMETRIES)}")
    for rate in (card.get("frame_rate"), stored.get("frame_rate")):
        plausible = rate is None or (_is_number(rate) and 0 < rate <= _MAX_RATE)
        _require(plausible, f"has a frame_rate that is not between 0 and {_MAX_RATE}")
    _require(card.get("step") is None or _is_number(card["step"]), "has a step that is no number")
    measured = card.get("validation", {})
    _require(
        isinstance(measured, dict) and all(isinstance(x, int | float) for x in measured.values()),
        "has validation figures that are no numbers",
    )
    source = card.get("source")
    _require(
        source is None or (isinstance(source, dict) and isinstance(source.get("file"), str)),
        "has a source that names no file",
    )
    face = card.get("canonical_face")
    _require(face is None or _is_face(face), "has a canonical_face that is no 68 points")


def _require(fits: bool, fault: str) -> None:
    if not fits:
        raise ValueError(fault)


def _check_depth(card: Json) -> None:
    level = [card]
    for _ in range(_MAX_DEPTH):
        inner = (x.values() if isinstance(x, dict) else x for x in level)
        level = [y for x in inner for y in x if isinstance(y, dict | list)]
        if not level:
            return
    raise ValueError("is nested too deeply")


def _check_fields(fields: dict[str, Json], name: str, of_network: bool) -> None:
    """Names that a config can have, and in a network's fields numbers that a network can have."""
    for key, value in fields.items():
        _require(key.isidentifier() and not key.startswith("_"), f"has an odd name in {name}")
        own = f"{name}.{key}"
        if isinstance(value, dict):
            _check_fields(value, own, of_network or key == "model")
        elif of_network:
            values = value if isinstance(value, list) else [value]
            _require(len(values) <= _MAX_LIST, f"has more than {_MAX_LIST} values in {own}")
            for each in values:
                _require(not isinstance(each, dict | list), f"has something odd in {own}")
                fits = not isinstance(each, int | float) or abs(each) <= _MAX_NUMBER
                _require(fits, f"has {own}={value}, larger than any network's")


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_face(value: Json) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 68
        and all(isinstance(p, list) and len(p) == 2 and all(map(_is_number, p)) for p in value)
    )
