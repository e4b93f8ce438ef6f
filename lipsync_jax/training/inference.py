"""Reads checkpoints for inference; array values are read only where the shapes fit the network."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, cast

import flax

from lipsync_jax import methods
from lipsync_jax.methods import fields
from lipsync_jax.text import printable
from lipsync_jax.training import arrays, model_cards
from lipsync_jax.training.arrays import CheckpointError
from lipsync_jax.training.checkpoint_folder import full_name, resolve_checkpoint
from lipsync_jax.types import Json, Tree

T = TypeVar("T")
ShapeCheck = Callable[[Mapping[str, Tree]], Tree]
SHAPE_ERRORS = (flax.errors.FlaxError, TypeError)
# What a network that is built from an untrusted config, or applied to untrusted shapes, raises.
_MISMATCH_ERRORS = (
    flax.errors.FlaxError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


def read_model_card(directory: str | os.PathLike) -> dict[str, Json]:
    """Reads a checkpoint's model card: config, validation metrics, step or source.

    Args:
        directory: see `resolve_checkpoint`.

    Returns:
        JSON values; fields that were added to configs since the checkpoint was written have their
        defaults.

    Raises:
        FileNotFoundError, ValueError: see `resolve_checkpoint` and `model_cards.read`.
    """
    model_card = model_cards.read(resolve_checkpoint(directory))
    return {**model_card, "config": fields.with_defaults(model_card["config"])}


def load_inference(directory: str | os.PathLike, kind: Callable[..., T], problem: str) -> T:
    """Returns what a checkpoint's networks can do and need, before any weight is read.

    Args:
        directory: see `resolve_checkpoint`.
        kind: a class of `methods.inference` (`type[T]` would exclude abstract classes).
        problem: says that the method cannot do this, and what to do.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: the checkpoint's method has no inference of that class (the message is `problem`
            after the names of checkpoint and method), or its config describes no network.
    """
    model_card = read_model_card(directory)
    name = model_card["config"].get("method")
    if not methods.has_inference(name, cast(type, kind)):
        method = printable(str(name), 80)
        raise ValueError(f"checkpoint {full_name(directory)} is of the method {method}, {problem}")
    with raise_on_shape_mismatch(directory):
        return cast(T, methods.load_inference(model_card))


def load_network(
    directory: str | os.PathLike, name: str, check: ShapeCheck | None = None
) -> tuple[dict[str, Tree], dict[str, Tree]]:
    """Loads one network's variables, as numpy arrays, whatever devices they were saved from.

    Args:
        directory: see `resolve_checkpoint`.
        name: of the network, e.g. `generator`.
        check: see `load_networks`; of this network's variables.

    Returns:
        ({"params": ..., "batch_stats": ...}, model card).

    Raises:
        FileNotFoundError: there is no checkpoint, or it lacks this network.
        ValueError: the checkpoint is damaged, of another network or of another format.
    """
    model_card = read_model_card(directory)
    check_all = None if check is None else lambda found: check(found[name])
    return load_networks(directory, (name,), check_all)[name], model_card


def load_networks(
    directory: str | os.PathLike, names: Sequence[str], check: ShapeCheck | None = None
) -> dict[str, Tree]:
    """Loads the variables of several networks, as numpy arrays.

    Args:
        directory: see `resolve_checkpoint`.
        names: of the networks.
        check: (network name -> variables as jax.ShapeDtypeStruct) -> applies the networks to the
            shapes, as `jax.eval_shape` does, so that no values are read of a checkpoint that does
            not fit.

    Returns:
        Network name -> {"params": ..., "batch_stats": ...}.

    Raises:
        FileNotFoundError: there is no checkpoint, or it lacks a network.
        ValueError: the checkpoint is damaged, or its arrays are not those of the networks.
    """
    items = {name: find_network(directory, name) for name in names}
    found = {name: arrays.shapes(item) for name, item in items.items()}
    if check is not None:
        with raise_on_shape_mismatch(directory):
            check(found)
    return {name: read_item(item) for name, item in items.items()}


def find_network(directory: str | os.PathLike, name: str) -> Path:
    """Returns the folder, or packed file, of one network in a checkpoint.

    Args:
        directory: see `resolve_checkpoint`.
        name: of the network.

    Raises:
        FileNotFoundError: there is no checkpoint, or it lacks this network.
        ValueError: the checkpoint has another format.
    """
    folder = resolve_checkpoint(directory)
    item = model_cards.network_path(folder, name)
    if not item.exists():
        if not (folder / model_cards.ITEM).is_dir():
            model_cards.read(folder)  # refuses other formats
        present = model_cards.network_names(folder)
        raise FileNotFoundError(
            f"checkpoint {full_name(directory)} has no {name}; it holds "
            f"{printable(', '.join(present), 200)}"
        )
    return item


@contextlib.contextmanager
def raise_on_shape_mismatch(
    directory: str | os.PathLike, errors: tuple[type[Exception], ...] = _MISMATCH_ERRORS
) -> Iterator[None]:
    """Turns errors of building and applying a checkpoint's network into errors of the checkpoint.

    Args:
        directory: the checkpoint, for the message.
        errors: types of errors that the checkpoint causes; SHAPE_ERRORS where the user's config
            can be wrong too.

    Raises:
        ValueError: the model card describes no network, or the weights are of another one; names
            the checkpoint.
    """
    try:
        yield
    except CheckpointError:
        raise
    except errors as error:
        reason = printable(str(error).partition(" (https")[0] or type(error).__name__, 300)
        raise CheckpointError(
            f"checkpoint {full_name(directory)}: its weights are not those of the network it "
            "describes; if another version of lipsync_jax wrote it, train or convert it again "
            f"({reason})"
        ) from error


def read_item(folder: Path) -> Tree:
    """Reads the arrays of one network's folder as numpy arrays; see `arrays.read`."""
    return arrays.read(folder)
