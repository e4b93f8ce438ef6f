"""Finds the folder of a checkpoint that a user named; all that reads checkpoints begins here.

A checkpoint is a run's workdir, a folder that `lipsync convert` or `lipsync export` wrote, a
built-in model, or an address of the Hugging Face Hub. JAX is not imported.
"""

import os
from pathlib import Path

from lipsync_jax import hub, paths
from lipsync_jax.training import model_cards

_PYTORCH = (".pth", ".pt", ".pkl", ".dat", ".model", ".ckpt")


def full_name(directory: str | os.PathLike) -> str:
    """Returns what messages, reports and configs name a checkpoint: absolute path, or address."""
    return str(hub.parse(directory) if hub.is_address(directory) else paths.absolute(directory))


def local_folder(directory: str | os.PathLike) -> Path:
    """Returns the absolute path of a folder; of an address, that of its copy, which is fetched.

    Args:
        directory: a path, see `paths.parse`, or an address, see `hub.parse`.

    Raises:
        FileNotFoundError, ValueError: see `hub.local`.
    """
    return paths.absolute(hub.local(directory))


def resolve_checkpoint(directory: str | os.PathLike) -> Path:
    """Returns the newest inference checkpoint of a folder.

    Args:
        directory: a run's workdir, its best/ or one checkpoint itself; or its address on the
            Hugging Face Hub, see `hub.parse`, which is fetched.

    Raises:
        FileNotFoundError: the folder holds no checkpoint.
        ValueError: the path is a file, or empty; or the address can't be fetched.
    """
    if not str(directory):
        raise ValueError("the checkpoint's folder is empty: name a run's workdir")
    root, name = local_folder(directory), full_name(directory)
    if root.is_file():
        kind = "a PyTorch file" if root.suffix in _PYTORCH else "a file, not a folder"
        out = root.with_suffix("")
        raise ValueError(
            f"{name} is {kind}: run `lipsync convert {name} {out}` once, then give {out}"
        )
    if not root.is_dir():
        raise FileNotFoundError(
            f"{name} does not exist; name a training run's workdir or a "
            "folder that `lipsync convert` wrote"
        )
    if model_cards.is_checkpoint(root):
        return root
    for folder in (root / "best", root):
        steps = sorted(
            (int(p.name), p)
            for p in (folder.iterdir() if folder.is_dir() else ())
            if p.name.isdigit() and model_cards.is_checkpoint(p)
        )
        if steps:
            return steps[-1][1]
    if is_exported(root):
        raise ValueError(
            f"{name} was written by `lipsync export`, and only `lipsync dub` runs such a "
            "network; give the checkpoint that it was exported from"
        )
    raise FileNotFoundError(
        f"{name} holds no checkpoint to run: name a training run's workdir (one that has "
        "been validated at least once) or a folder that `lipsync convert` wrote"
    )


def is_exported(directory: str | os.PathLike) -> bool:
    """Returns whether a folder was written by `lipsync export`: it holds programs, no weights.

    Raises:
        FileNotFoundError, ValueError: see `hub.local`.
    """
    return (local_folder(directory) / model_cards.EXPORTED).is_file()
