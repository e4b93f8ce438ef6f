"""Finds prepared data sets and loads their clips; reads ArrayRecord without TensorFlow."""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from absl import logging

from lipsync_jax import paths
from lipsync_jax.data import clip_index, shard_file
from lipsync_jax.data.clip import CROP_SPECS, Clip, decode_frames
from lipsync_jax.data.clip_record import ParsedRecord, StoredClip
from lipsync_jax.types import Entry, Untyped

_PREPARED = "the folder that `lipsync prepare` wrote"


class DataSource(Protocol):
    """The source of examples: clips, or a method's own records."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Entry: ...  # for the method's `make_example`


def find_dataset(data_dir: str, crop: str) -> Path:
    """Returns the folder of a prepared data set.

    Args:
        data_dir: the folder itself, or any folder above it.
        crop: name of the crop, e.g. `face96`.

    Raises:
        FileNotFoundError: no data set with that crop is there.
        ValueError: `data_dir` is empty, or several data sets with that crop are there.
    """
    if not data_dir:
        raise ValueError(f"config.data.dir is empty: name {_PREPARED}")
    root = paths.parse(data_dir, "--config.data.dir")
    paths.require_folder(root, _PREPARED)
    if (root / "dataset_info.json").is_file():
        return root
    found = _complete(root)
    # A configuration is named by its crop, or by its crop and split: `face96-official`.
    matching = [p for p in found if p.parent.name.partition("-")[0] == crop]
    matching = [p for p in matching if p.parent.name == crop] or matching
    matching = _newest(matching)
    if not matching:
        others = ", ".join(str(p.relative_to(root)) for p in found) or "nothing"
        raise FileNotFoundError(
            f"{root} holds no prepared data set with the crop {crop} (found: {others}); "
            f"write one with `lipsync prepare --input VIDEOS --out {root} --crop {crop}`"
        )
    if len(matching) > 1:
        names = ", ".join(str(p.relative_to(root)) for p in matching)
        raise ValueError(f"{root} holds several {crop} data sets ({names}); name one of them")
    return matching[0]


def only_dataset(root: Path, crop: str = "") -> Path:
    """Returns the folder of the one prepared data set below a folder.

    Args:
        root: the folder itself, or any folder above it.
        crop: name of the crop, e.g. `face96`; empty where the folder holds one data set.

    Raises:
        FileNotFoundError: no data set, or none with that crop, is there.
        ValueError: several data sets are there.
    """
    if crop or (root / "dataset_info.json").is_file():
        return find_dataset(str(root), crop)
    paths.require_folder(root, _PREPARED)
    newest = _newest(_complete(root))
    if not newest:
        raise FileNotFoundError(
            f"{root} holds no prepared data set; name a folder that `lipsync prepare --out` wrote"
        )
    if len(newest) > 1:
        names = ", ".join(str(path.relative_to(root)) for path in newest)
        raise ValueError(f"{root} holds {len(newest)} data sets ({names}); name one, or a crop")
    return newest[0]


def open_splits(folder: Path) -> tuple[str, dict[str, "ClipDataSource"]]:
    """Opens all splits of a data set that have clips; its description is read once.

    Args:
        folder: from `find_dataset`.

    Returns:
        Corpus, config and version of the data set, e.g. `grid/face96/1.2.0`; split -> its clips.
    """
    info = _info(_readable(folder))
    names = [name for name, split in info.splits.items() if split.num_examples]
    return info.full_name, {name: ClipDataSource(folder, name, info) for name in names}


def _info(folder: Path) -> Untyped:
    """Returns what TFDS knows about a readable data set, a `tfds.core.DatasetInfo`."""
    import tensorflow_datasets as tfds  # half a second; inference never needs it

    return tfds.builder_from_directory(folder).info


def _readable(folder: Path) -> Path:
    """Returns a folder that ArrayRecord reads: of buckets it reads gs:// only."""
    return paths.cached_copy(folder) if paths.bucket_scheme(folder) == "s3" else folder


def _complete(root: Path) -> list[Path]:
    """Returns the data sets below a folder, without those that a preparation is still writing."""
    found = [path.parent for path in paths.find(root, "dataset_info.json")]
    return [
        folder
        for folder in found
        if not any(name.startswith("incomplete.") for name in folder.relative_to(root).parts)
    ]


def _newest(folders: Iterable[Path]) -> list[Path]:
    """Returns the newest version of each data set; preparing again leaves older versions there."""
    newest = {folder.parent: folder for folder in sorted(folders, key=_version)}
    return sorted(newest.values())


def _version(folder: Path) -> list[int]:
    """Returns the numbers of a folder's name `1.10.0`; versions without numbers come first."""
    return [int(part) for part in folder.name.split(".") if part.isdecimal()]


class ClipDataSource:
    """Random access to the clips of one split; a `grain` source, which may be pickled.

    With the index that preparation writes (see `clip_index`), a clip's values are read when they
    are used, frames one by one. Without one, e.g. of data sets before version 1.2.0, the whole
    record is read.

    Args:
        folder: from `find_dataset`.
        split: `train`, `validation` or `test`.
        info: the `tfds.core.DatasetInfo` of the folder, if it was read before.

    Raises:
        ValueError: the split does not exist or is empty, or a record can't be read (the message
            names the folder and the record).
    """

    def __init__(self, folder: Path, split: str, info: Untyped = None) -> None:
        self.folder, self.split = paths.parse(folder), split
        local = _readable(self.folder)
        info = _info(local) if info is None else info
        if split not in info.splits or not info.splits[split].num_examples:
            raise ValueError(f"{folder} has no clips in its split {split!r}")
        self._files = [paths.parse(path) for path in info.splits[split].filepaths]
        self._instructions = info.splits[split].file_instructions
        self._index: clip_index.ClipIndex | None = None
        has_index = shard_file.IS_SUPPORTED and not paths.is_bucket(local)  # mapped into memory
        if has_index and clip_index.is_current(local, split, self._files):
            try:
                self._index = clip_index.ClipIndex(local, split, self._files)
            except (OSError, ValueError) as error:
                where = clip_index.folder_of(local, split)
                logging.warning(
                    "the index in %s is damaged (%s), so whole records are read; prepare the data "
                    "set again", where, error,
                )  # fmt: skip
        self._len = info.splits[split].num_examples

    def __len__(self) -> int:
        return self._len

    def __getitem__(self, index: int) -> Clip:
        if self._index is not None:
            return StoredClip.of(self._index[index])
        try:
            return StoredClip.of(ParsedRecord(self._records[index]))
        except Exception as error:
            raise ValueError(
                f"record {index} of split {self.split!r} can't be read; its shards are "
                f"{self._files[0]} and {len(self._files) - 1} more: {error}. "
                "Prepare the data set again."
            ) from error

    @functools.cached_property
    def _records(self) -> Sequence[bytes]:
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        return ArrayRecordDataSource(self._instructions)

    def __getstate__(self) -> dict[str, Untyped]:
        return {name: value for name, value in self.__dict__.items() if name != "_records"}

    def __repr__(self) -> str:  # grain prints its sources
        return f"ClipDataSource({self.folder}, {self.split!r})"


def check_crop(clips: ClipDataSource, crop: str) -> None:
    """Raises ValueError if the stored crops do not have the size of the config's crop."""
    spec = CROP_SPECS[crop]
    height, width = decode_frames(clips[0], range(1)).shape[1:3]
    if (height, width) != (spec.height, spec.width):
        raise ValueError(
            f"{clips.folder} holds crops of {height}x{width}; config.data.crop={crop} "
            f"means {spec.height}x{spec.width}"
        )
