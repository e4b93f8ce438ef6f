"""The model card of a checkpoint: its version, and what JSON it may be.

Cards of untrusted checkpoints are read here.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from lipsync_jax import __version__, paths
from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.text import printable
from lipsync_jax.types import Json

ITEM = "model_card"  # the card's folder in a checkpoint
PACKED = "model_card.json"  # the card's file in a packed checkpoint, see `packed`
PACKED_SUFFIX = ".npz"  # of a network's file in a packed checkpoint
EXPORTED = "card.json"  # the card's file in a folder of `lipsync export`
FORMAT = 2  # raise it when a name or a shape in checkpoints changes
_OLD_ITEM = "card"  # of versions before 0.2
_MAX_BYTES = 4 << 20
_MAX_DEPTH = 16  # of dicts and lists within each other
_MAX_NUMBER = 200_000  # in a network's fields: sizes, numbers of layers, sample rates
_MAX_LIST = 64  # in a network's fields
_MAX_RATE = 1000  # frames a second


class _OtherFormatError(ValueError):
    """A checkpoint of another format."""


def stamp() -> dict[str, Json]:
    """Returns the entries that name a checkpoint's format and the version that writes it."""
    return {"format": FORMAT, "lipsync_jax": __version__}


def is_checkpoint(folder: Path) -> bool:
    """Returns whether a folder holds a checkpoint for inference, of this format or an older one."""
    files = (folder / PACKED, folder / _OLD_ITEM / "metadata")
    return (folder / ITEM).is_dir() or any(file.is_file() for file in files)


def network_names(folder: Path) -> list[str]:
    """Returns the names of the networks that a checkpoint holds, sorted."""
    if (folder / PACKED).is_file():
        return sorted(p.stem for p in folder.iterdir() if p.suffix == PACKED_SUFFIX)
    cards = (ITEM, _OLD_ITEM)
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name not in cards)


def network_path(folder: Path, name: str) -> Path:
    """Returns where the arrays of a checkpoint's network are: a folder, or a packed file."""
    packed = (folder / PACKED).is_file()
    return folder / (f"{name}{PACKED_SUFFIX}" if packed else name)


def card_path(folder: Path) -> Path:
    """Returns the file of a checkpoint's model card, which may be missing."""
    packed = folder / PACKED
    return packed if packed.is_file() else folder / ITEM / "metadata"


def check_format(stamped: Mapping[str, Json], folder: Path) -> None:
    """Refuses a checkpoint of another format.

    Args:
        stamped: JSON values of the checkpoint, with the entries of `stamp` if it has them.
        folder: of the checkpoint, for the message.

    Raises:
        ValueError: the checkpoint has another format; names the version that wrote it.
    """
    found = stamped.get("format")
    if found == FORMAT:
        return
    version = printable(stamped.get("lipsync_jax", "unknown"), 40)
    writer = "a version before 0.2" if found is None else f"version {version}"
    raise _OtherFormatError(
        f"checkpoint {folder} was written by {writer} of lipsync_jax, whose checkpoints version "
        f"{__version__} does not read: train it again, convert its weights file again with "
        "`lipsync convert`, or install that version"
    )


def read(folder: Path) -> dict[str, Json]:
    """Reads the model card of a checkpoint.

    Args:
        folder: of the checkpoint itself.

    Returns:
        JSON values. `config` is a dict with a `method`; what networks are built from has sizes
        that a network can have. Whether a method accepts them is checked by the method.

    Raises:
        FileNotFoundError: the checkpoint has no model card.
        ValueError: the model card is damaged, or the checkpoint has another format; names the
            checkpoint and what is wrong.
    """
    path = card_path(folder)
    if not path.is_file():
        if (folder / _OLD_ITEM / "metadata").is_file():
            check_format({}, folder)
        raise FileNotFoundError(
            f"checkpoint {folder} has no {ITEM}/metadata: copy the whole folder again"
        )
    try:
        if paths.size(path) > _MAX_BYTES:
            raise ValueError(f"has more than {_MAX_BYTES >> 20} MB")
        model_card = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(model_card, dict) and "format" in model_card:
            check_format(model_card, folder)
        _check(model_card)
    except _OtherFormatError:
        raise
    except (RecursionError, ValueError) as error:  # JSONDecodeError and UnicodeDecodeError too
        raise ValueError(
            f"checkpoint {folder}: its {path.relative_to(folder)} {_describe_error(error)}; copy "
            "the folder again, or convert or train it again"
        ) from error
    check_format(model_card, folder)
    return model_card


def _describe_error(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return f"is no JSON ({printable(error, 200)})"
    return printable(error, 200)


def _check(model_card: Json) -> None:
    _require(isinstance(model_card, dict), "is no JSON object")
    _check_depth(model_card)
    config = model_card.get("config")
    _require(isinstance(config, dict), "has no config")
    stored = config  # of any version: fields may be missing
    method = stored.get("method")
    _require(isinstance(method, str) and method.isidentifier(), "names no method in its config")
    _check_fields(config, "config", of_network=False)
    data = stored.get("data", {})
    _require(isinstance(data, dict), "has a config.data that is no object")
    if "crop" in data:
        known = isinstance(data["crop"], str) and data["crop"] in CROP_SPECS
        _require(known, f"has a config.data.crop that is none of {', '.join(CROP_SPECS)}")
    for rate in (model_card.get("frame_rate"), stored.get("frame_rate")):
        plausible = rate is None or (_is_number(rate) and 0 < rate <= _MAX_RATE)
        _require(plausible, f"has a frame_rate that is not between 0 and {_MAX_RATE}")
    _require(
        model_card.get("step") is None or _is_number(model_card["step"]),
        "has a step that is no number",
    )
    validation = model_card.get("validation", {})
    _require(
        isinstance(validation, dict)
        and all(isinstance(x, int | float) for x in validation.values()),
        "has validation metrics that are no numbers",
    )
    source = model_card.get("source")
    _require(
        source is None or (isinstance(source, dict) and isinstance(source.get("file"), str)),
        "has a source that names no file",
    )
    canonical_face = model_card.get("canonical_face")
    _require(
        canonical_face is None or _is_face(canonical_face),
        "has a canonical_face that is no 68 points",
    )


def _require(valid: bool, problem: str) -> None:
    if not valid:
        raise ValueError(problem)


def _check_depth(model_card: Json) -> None:
    level = [model_card]
    for _ in range(_MAX_DEPTH):
        inner = (x.values() if isinstance(x, dict) else x for x in level)
        level = [y for x in inner for y in x if isinstance(y, dict | list)]
        if not level:
            return
    raise ValueError("is nested too deeply")


def _check_fields(fields: dict[str, Json], name: str, of_network: bool) -> None:
    """Checks names against those that a config can have, and numbers against those of networks."""
    for key, value in fields.items():
        _require(key.isidentifier() and not key.startswith("_"), f"has an invalid name in {name}")
        own = f"{name}.{key}"
        if isinstance(value, dict):
            _check_fields(value, own, of_network or key == "model")
        elif of_network:
            values = value if isinstance(value, list) else [value]
            _require(len(values) <= _MAX_LIST, f"has more than {_MAX_LIST} values in {own}")
            for each in values:
                _require(
                    not isinstance(each, dict | list),
                    f"has a list or an object among the values of {own}",
                )
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
