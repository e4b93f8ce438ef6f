"""Checkpoints on the Hugging Face Hub: hf://OWNER/REPOSITORY[/FOLDER][@REVISION].

Only such an address, typed by the user, makes this module import `huggingface_hub` (extra `hf`)
and use the network. Files are kept in that library's cache (`HF_HOME` moves it).
"""

import contextlib
import functools
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from lipsync_jax.progress import ProgressBar
from lipsync_jax.text import printable

P = TypeVar("P", bound=str | os.PathLike)
_FORM = "hf://OWNER/REPOSITORY, with /FOLDER and @REVISION if wanted"
_STARTS = ("hf:/", "hf:\\")  # pathlib makes one slash of two
_NAME = r"[A-Za-z0-9][\w.\-]*"
_ADDRESS = rf"({_NAME}/{_NAME})((?:/[^@/]+)*)/*(?:@([^@]+))?"
# Folders of a run that inference does not read.
_UNUSED = ("checkpoints", "damaged", "samples", "tensorboard")
_LOGGERS = ("huggingface_hub", "httpx", "httpx2")  # which tell each request

log = logging.getLogger(__name__)


class Address(NamedTuple):
    """A folder on the hub.

    Attributes:
        repository: OWNER/REPOSITORY.
        folder: in the repository, without slashes around; empty for the whole.
        revision: branch, tag or commit; None for the main branch.
    """

    repository: str
    folder: str
    revision: str | None

    def __str__(self) -> str:
        folder = f"/{self.folder}" if self.folder else ""
        return f"hf://{self.repository}{folder}" + (f"@{self.revision}" if self.revision else "")


def is_address(path: str | os.PathLike) -> bool:
    """Returns whether a path is an address of the hub."""
    return os.fspath(path)[:4].lower() in _STARTS


def parse(path: str | os.PathLike, option: str = "") -> Address:
    """Parses an address.

    Args:
        path: hf://OWNER/REPOSITORY[/FOLDER][@REVISION].
        option: name of the option that has it, for errors.

    Raises:
        ValueError: the text is no such address.
    """
    text = os.fspath(path).replace("\\", "/")
    match = re.fullmatch(_ADDRESS, text[3:].lstrip("/"), re.ASCII)
    if match is None or ".." in match[2].split("/"):
        given = f"{option}={text}" if option else text
        raise ValueError(f"{given} is no address of a checkpoint; give {_FORM}")
    return Address(match[1], match[2].strip("/"), match[3])


def require_library(address: Address) -> None:
    """Imports `huggingface_hub`.

    Raises:
        ValueError: the library is not installed; says how to install it.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the library is imported
    try:
        import huggingface_hub  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"{address}: huggingface_hub fetches hf:// and is not installed; run "
            "pip install 'lipsync_jax[hf]'"
        ) from error


def local(path: P) -> P | Path:
    """Returns the local copy of an address of the hub, fetched unless it is cached; else the path.

    Without a network the cached copy is used.

    Raises:
        FileNotFoundError: the repository has no such folder.
        ValueError: the library is not installed, or the files can't be fetched; says what to do.
    """
    return _fetch(parse(path)) if is_address(path) else path


@functools.cache
def _fetch(address: Address) -> Path:
    require_library(address)
    import glob

    from huggingface_hub import snapshot_download

    start = f"{glob.escape(address.folder)}/" if address.folder else ""
    log.info("reading %s", address)
    try:
        with ProgressBar(f"fetch {address}"), _quiet_library():
            snapshot = snapshot_download(
                address.repository,
                revision=address.revision,
                allow_patterns=[f"{start}*"],
                ignore_patterns=[f"{start}{name}/*" for name in _UNUSED],
            )
    except Exception as error:  # of the library, of its network library, of the disk
        raise ValueError(f"{address} can't be fetched: {_advice(error)}") from error
    folder = Path(snapshot, address.folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{address}: the repository has no folder {address.folder}, or the hub can't be "
            "reached and the cache lacks it; correct the address, or give a local folder"
        )
    return folder


def _advice(error: Exception) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.RepositoryNotFoundError):  # also where a licence is to be accepted
        return (
            "there is no such repository, or it is not yours to read; correct the address, or log "
            "in with `hf auth login`"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return "the repository has no such revision; name a branch, a tag or a commit"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return (
            "it is not in the cache, and the hub can't be reached (or HF_HUB_OFFLINE is set); "
            "connect this machine to the network, or give a local folder"
        )
    reason = printable(" ".join(str(error).split()) or type(error).__name__, 200)
    return f"{reason}; try again, or give a local folder"


@contextlib.contextmanager
def _quiet_library() -> Iterator[None]:
    """Silences the library, whose bars would overwrite those of this project."""
    from huggingface_hub import utils

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels, has_bars = [each.level for each in loggers], not utils.are_progress_bars_disabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    utils.disable_progress_bars()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if has_bars:
            utils.enable_progress_bars()
