"""Reads checkpoints for inference: nothing is read of arrays that do not fit the network."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import flax

from lipsync_jax.methods import fields
from lipsync_jax.text import printable
from lipsync_jax.training import arrays, cards
from lipsync_jax.training.arrays import CheckpointError
from lipsync_jax.types import Json, Tree

_PYTORCH = (".pth", ".pt", ".pkl", ".dat", ".model", ".ckpt")

Check = Callable[[Mapping[str, Tree]], Tree]
_PYTORCH = (".pth", ".pt", ".pkl", ".dat", ".model", ".ckpt")
OTHER_SHAPES = (flax.errors.FlaxError, TypeError)
# All that a network built from a stranger's numbers, or shown a stranger's shapes, raises.
_MISFITS = (
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


def find(directory: str | os.PathLike) -> Path:
    """The newest inference checkpoint of a folder.

    Args:
        directory: a run's workdir, its best/ or one checkpoint itself.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is a file, or no folder was given.
    """
    if not str(directory):
        raise ValueError("the checkpoint's folder is empty: name a run's workdir")
    directory = Path(directory).absolute()
    if directory.is_file():
        kind = "a PyTorch file" if directory.suffix in _PYTORCH else "a file, not a folder"
        out = directory.with_suffix("")
        raise ValueError(
            f"{directory} is {kind}: run `lipsync convert {directory} {out}` once, then give {out}"
        )
    if not directory.is_dir():
        raise FileNotFoundError(
            f"checkpoint folder {directory} does not exist; name a training run's workdir or a "
            "folder that `lipsync convert` wrote"
        )
    if (directory / "card").is_dir():
        return directory
    for folder in (directory / "best", directory):
        steps = sorted(
            (int(p.name), p)
            for p in (folder.iterdir() if folder.is_dir() else ())
            if p.name.isdigit() and (p / "card").is_dir()
        )
        if steps:
            return steps[-1][1]
    raise FileNotFoundError(
        f"{directory} holds no checkpoint to run: name a training run's workdir (one that has "
        "been validated at least once) or a folder that `lipsync convert` wrote"
    )


def read_card(directory: str | os.PathLike) -> dict[str, Json]:
    """The card of a checkpoint: config, validation figures, step or source; see `cards.read`.

    The config of an older checkpoint has the fields that were added since.
    """
    card = cards.read(find(directory))
    return {**card, "config": fields.complete(card["config"])}


def load_inference(
    directory: str | os.PathLike, player: str, check: Check | None = None
) -> tuple[dict[str, Tree], dict[str, Tree]]:
    """One player's variables, as numpy arrays, whatever devices they were saved from.

    Args:
        directory: see `find`.
        player: its name, e.g. `generator`.
        check: see `load_players`; of this player's variables.

    Returns:
        ({"params": ..., "batch_stats": ...}, card).

    Raises:
        FileNotFoundError: no checkpoint, or it lacks this player.
        ValueError: the checkpoint is damaged, or of another network.
    """
    card = read_card(directory)
    check_all = None if check is None else lambda found: check(found[player])
    return load_players(directory, (player,), check_all)[player], card


def load_players(
    directory: str | os.PathLike, players: Sequence[str], check: Check | None = None
) -> dict[str, Tree]:
    """The variables of several players, as numpy arrays.

    Args:
        directory: see `find`.
        players: their names.
        check: (player -> variables as jax.ShapeDtypeStruct) -> runs the networks on them without
            values, as `jax.eval_shape` does: so nothing is read of a checkpoint that does not fit.

    Returns:
        Player -> {"params": ..., "batch_stats": ...}.

    Raises:
        FileNotFoundError: no checkpoint, or it lacks a player.
        ValueError: the checkpoint is damaged, or its arrays are not those of the networks.
    """
    items = {player: find_player(directory, player) for player in players}
    found = {player: arrays.shapes(item) for player, item in items.items()}
    if check is not None:
        with fitting(directory):
            check(found)
    return {player: read_item(item) for player, item in items.items()}


def find_player(directory: str | os.PathLike, player: str) -> Path:
    """The folder of one player in a checkpoint.

    Raises:
        FileNotFoundError: no checkpoint, or it lacks this player.
    """
    folder = find(directory)
    if not (folder / player).is_dir():
        has = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name != "card")
        raise FileNotFoundError(
            f"checkpoint {folder} has no {player}; it holds {printable(', '.join(has), 200)}"
        )
    return folder / player


@contextlib.contextmanager
def fitting(
    directory: str | os.PathLike, errors: tuple[type[Exception], ...] = _MISFITS
) -> Iterator[None]:
    """For building a network as a card says, and its first look at variables.

    Args:
        directory: the checkpoint, for the message.
        errors: those that are the checkpoint's fault; OTHER_SHAPES where a user's config can be
            wrong too.

    Raises:
        ValueError: the card describes no network, or the weights are of another one; names the
            checkpoint.
    """
    try:
        yield
    except CheckpointError:
        raise
    except errors as error:
        fault = printable(str(error).partition(" (https")[0] or type(error).__name__, 300)
        raise CheckpointError(
            f"checkpoint {directory}: its weights are not those of the network it describes; "
            f"if another version of lipsync_jax wrote it, train or convert it anew ({fault})"
        ) from error


def read_item(folder: Path) -> Tree:
    """The arrays of one player's folder as numpy arrays; see `arrays.read`."""
    return arrays.read(folder)
