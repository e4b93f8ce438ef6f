"""The corpora of the field as TFDS builders, one file a corpus; importing this registers them.

A corpus module has `find(sources) -> list[Video]`, the videos and their speakers,
and `words(video) -> tuple[Word, ...]`, the words with times. Optional are `transcript(video)` and
`phones(video)`, and `TEST_SPEAKERS`, the names of the speakers in published test sets. A user's
module may be in any folder; the modules here have a builder class, too.
"""

import functools
import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from lipsync_jax.data_prep.corpora.base import OFFICIAL, CorpusBuilder, NamedSplit, configs
from lipsync_jax.data_prep.corpora.layout import (
    SUFFIXES,
    Annotation,
    LayoutError,
    Video,
    stub_fault,
    video_files,
    with_unique_ids,
    with_utf8_names,
)

__all__ = [
    "BUILDERS",
    "NAMES",
    "OFFICIAL",
    "SUFFIXES",
    "Annotation",
    "CorpusBuilder",
    "LayoutError",
    "NamedSplit",
    "Video",
    "annotation",
    "configs",
    "dataset_name",
    "expected_frames",
    "get",
    "named_splits",
    "stub_fault",
    "video_files",
    "with_unique_ids",
    "with_utf8_names",
]

NAMES = (
    "folder",
    "grid",
    "tcd_timit",
    "crema_d_av",
    "lrw",
    "lrs2",
    "lrs3",
    "ldc2009v01",
    "voxceleb2",
    "hdtf",
)


def get(corpus: str) -> ModuleType:
    """Returns the module of a corpus.

    Args:
        corpus: one of NAMES, or the path of a corpus module, ending in `.py`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: no corpus has that name, or the file is no corpus module.
    """
    if corpus in NAMES:
        return importlib.import_module(f"{__name__}.{corpus}")
    if not corpus.endswith(".py"):
        raise ValueError(
            f"unknown corpus {corpus!r}; choose one of {', '.join(NAMES)}, or give the path of a "
            "module of your own, e.g. my_corpus.py"
        )
    return _load_module(Path(corpus).resolve())


def dataset_name(corpus: str) -> str:
    """Returns the name of a corpus' data set: the corpus name, or the stem of its file."""
    return Path(corpus).stem


def named_splits(corpus: str) -> Mapping[str, NamedSplit]:
    """Returns the published splits of a corpus by name; none for a user's module."""
    return BUILDERS[corpus].SPLITS if corpus in BUILDERS else {}


def annotation(corpus: str, video: Video) -> Annotation:
    """Returns what is known of what a video says.

    Raises:
        ValueError: its annotation file can't be understood.
        OSError: or not be read.
    """
    module = get(corpus)
    words = tuple(module.words(video))
    transcript, phones = getattr(module, "transcript", None), getattr(module, "phones", None)
    return Annotation(
        words=words,
        transcript=transcript(video) if transcript else " ".join(word.text for word in words),
        phones=tuple(phones(video)) if phones else (),
    )


def expected_frames(corpus: str, video: Video) -> int | None:
    """Returns how many frames a video must have at 25 a second, where the corpus tells."""
    count = getattr(get(corpus), "expected_frames", None)
    return count(video) if count else None


@functools.cache
def _load_module(file: Path) -> ModuleType:
    if not file.is_file():
        raise FileNotFoundError(f"--corpus {file} does not exist; check the path")
    spec = importlib.util.spec_from_file_location(f"corpus_{file.stem}", file)
    assert spec is not None and spec.loader is not None  # of a file whose name ends with .py
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(
            f"--corpus {file} can't be imported: {type(error).__name__}: {error}"
        ) from error
    missing = [name for name in ("find", "words") if not callable(getattr(module, name, None))]
    if missing:
        raise ValueError(
            f"--corpus {file} has no function {' and no function '.join(missing)}; "
            "docs/how-to/new-corpus.md describes corpus modules"
        )
    return module


BUILDERS: Mapping[str, type[CorpusBuilder]] = {name: get(name).Builder for name in NAMES}
