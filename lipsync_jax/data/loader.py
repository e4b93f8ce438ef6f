"""Loads clips, makes examples and host batches; reads ArrayRecord without TensorFlow."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import grain
import numpy as np
from absl import logging

from lipsync_jax import paths
from lipsync_jax.data import clip_index, shard_file
from lipsync_jax.data.batch_iterator import BatchIterator
from lipsync_jax.data.clip import CROP_SPECS, Clip, decode_frames
from lipsync_jax.data.clip_record import ParsedRecord, StoredClip
from lipsync_jax.data.collate import stack
from lipsync_jax.types import Entry, Untyped

_EPOCHS = 2**31  # endless in practice; grain's own endless repeat overflows with batches of one
ExampleFn = Callable[[Entry, np.random.Generator], dict[str, Entry]]
CollateFn = Callable[[Sequence[dict[str, Entry]]], dict[str, Entry]]


class DataSource(Protocol):
    """The source of examples: clips, or a method's own records."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Entry: ...  # for the method's `make_example`


@runtime_checkable
class OrderedDataSource(DataSource, Protocol):
    """A data source that decides on its own order, see `mixture.Mixture`."""

    def dataset(self, seed: int, epochs: int) -> grain.MapDataset:
        """Returns the clips in an order that the seed fixes, `epochs` times."""


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
        raise ValueError("config.data.dir is empty: name the folder that `lipsync prepare` wrote")
    root = paths.parse(data_dir, "--config.data.dir")
    _require_folder(root)
    if (root / "dataset_info.json").is_file():
        return root
    found = [p.parent for p in paths.find(root, "dataset_info.json")]
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
    _require_folder(root)
    newest = _newest(path.parent for path in paths.find(root, "dataset_info.json"))
    if not newest:
        raise FileNotFoundError(
            f"{root} holds no prepared data set; name a folder that `lipsync prepare --out` wrote"
        )
    if len(newest) > 1:
        names = ", ".join(str(path.relative_to(root)) for path in newest)
        raise ValueError(f"{root} holds {len(newest)} data sets ({names}); name one, or a crop")
    return newest[0]


def dataset_name(folder: Path) -> str:
    """Returns corpus, config and version of a data set, e.g. `grid/face96/1.2.0`."""
    return _info(folder).full_name


def split_names(folder: Path) -> list[str]:
    """Returns the names of a data set's splits that have clips; folder as of `find_dataset`."""
    return [name for name, split in _info(folder).splits.items() if split.num_examples]


def _info(folder: Path) -> Untyped:
    """Returns what TFDS knows about a prepared data set, a `tfds.core.DatasetInfo`."""
    import tensorflow_datasets as tfds  # half a second; inference never needs it

    return tfds.builder_from_directory(_readable(folder)).info


def _readable(folder: Path) -> Path:
    """Returns a folder that ArrayRecord reads: of buckets it reads gs:// only."""
    return paths.cached_copy(folder) if os.fspath(folder).startswith("s3://") else folder


def _require_folder(root: Path) -> None:
    if not root.is_dir():
        what = "is a file" if root.is_file() else "does not exist"
        raise FileNotFoundError(
            f"data folder {root} {what}; name the folder that `lipsync prepare` wrote"
        )


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

    Raises:
        ValueError: the split does not exist or is empty, or a record can't be read (the message
            names the folder and the record).
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.folder, self.split = paths.parse(folder), split
        local = _readable(self.folder)
        info = _info(local)
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


@dataclasses.dataclass(frozen=True)
class _MakeExamples(grain.transforms.RandomMap):
    make_example: ExampleFn

    def random_map(self, element: Clip, rng: np.random.Generator) -> dict[str, Entry]:
        try:
            example_arrays = self.make_example(element, rng)
        except Exception as error:
            raise ValueError(
                f"no example can be made of clip {element.clip_id}: {error}"
            ) from error
        return {**example_arrays, "clip_id": np.array(element.clip_id)}


def training_batches(
    clips: DataSource,
    make_example: ExampleFn,
    batch_size: int,
    *,
    seed: int,
    collate: CollateFn = stack,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 4,
    num_workers: int = 0,
) -> BatchIterator:
    """Returns endless shuffled batches of one host's share, in an order fixed by the seed.

    The batches of all hosts together, one after the other, are those of a single host, example for
    example: a run may go on with another number of hosts.

    Args:
        clips: of the split.
        make_example: clip, rng -> example.
        batch_size: examples a batch on this host.
        seed: of the order and of the random generators of examples.
        collate: examples -> batch.
        process_index: this host's number.
        process_count: number of hosts.
        num_threads: number of reading threads, where there are no workers.
        num_workers: number of worker processes, of one reading thread each, which must be able to
            unpickle the arguments; 0: threads of this process make the batches.

    Returns:
        An iterator whose `get_state()` and `set_state()` hold its exact position; threads and
        workers change neither batches nor position.

    Raises:
        ValueError: the number of threads or workers is negative.
    """
    if num_threads < 0 or num_workers < 0:
        raise ValueError(
            f"config.data.num_threads={num_threads} and config.data.num_workers={num_workers}: "
            "both must be 0 or more"
        )
    if isinstance(clips, OrderedDataSource):
        data = clips.dataset(seed, _EPOCHS).seed(seed)
    else:
        data = shuffled(clips, seed, _EPOCHS)
    data = data.random_map(_MakeExamples(make_example))  # random generators by the place in `data`
    if process_count > 1:
        data = _HostShare(data, batch_size, process_index, process_count)
    data = data.batch(batch_size, batch_fn=collate)
    return BatchIterator(data, num_threads, num_workers)


def shuffled(clips: DataSource, seed: int, epochs: int) -> grain.MapDataset:
    """Returns the clips, shuffled anew in each of the epochs."""
    return grain.MapDataset.source(_Shuffled(clips, seed, epochs)).seed(seed)


class _HostShare(grain.MapDataset):
    """One host's part of each global batch: the hosts' parts follow each other in the batch."""

    def __init__(
        self, examples: grain.MapDataset, batch_size: int, process_index: int, process_count: int
    ) -> None:
        super().__init__(examples)
        self._batch_size, self._index, self._count = batch_size, process_index, process_count

    def __len__(self) -> int:
        return len(self._parent) // (self._batch_size * self._count) * self._batch_size

    def __getitem__(self, index: int | slice) -> Untyped:
        if isinstance(index, slice):
            return self.slice(index)
        batch, place = divmod(index, self._batch_size)
        return self._parent[(batch * self._count + self._index) * self._batch_size + place]

    def __str__(self) -> str:  # grain prints its data sets
        return f"part {self._index} of {self._count} of each batch"


class _Shuffled:
    """Clips, in an order of its own in each epoch; a `grain` source, which may be pickled.

    Grain's own shuffle takes milliseconds a clip where a data set has a few dozen clips.
    """

    def __init__(self, clips: DataSource, seed: int, epochs: int) -> None:
        self._clips, self._seed, self._epochs = clips, seed, epochs
        self._orders: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._clips) * self._epochs

    def __getitem__(self, index: int) -> Entry:
        epoch, place = divmod(index, len(self._clips))
        return self._clips[int(self._order(epoch)[place])]

    def _order(self, epoch: int) -> np.ndarray:
        order = self._orders.get(epoch)
        if order is None:
            generator = np.random.default_rng((self._seed, epoch))
            order = generator.permutation(len(self._clips)).astype(np.uint32)
            # Threads may still read the epoch before.
            self._orders = {
                **{e: o for e, o in self._orders.items() if e == epoch - 1},
                epoch: order,
            }
        return order

    def __repr__(self) -> str:  # grain prints its sources
        return f"shuffled {self._clips}"


def validation_batches(
    clips: DataSource,
    make_example: ExampleFn,
    batch_size: int,
    *,
    limit: int = 0,
    collate: CollateFn = stack,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[dict[str, Entry]]:
    """Yields one pass over a split, the same at every call.

    The last batch is padded with copies; `example_mask` (batch,) float32 is 0 for those. Every host
    yields the same number of batches.

    Args:
        clips: of the split.
        make_example: clip, rng -> example; the rng depends on the clip's number only.
        batch_size: examples a batch on this host.
        limit: most clips, over all hosts; 0 for all.
        collate: examples -> batch.
        process_index: this host's number.
        process_count: number of hosts.
    """
    total = min(limit, len(clips)) if limit else len(clips)
    per_batch = batch_size * process_count
    for start in range(0, total, per_batch):
        rows = []
        for slot in range(batch_size):
            number = start + slot * process_count + process_index
            index = min(number, total - 1)
            example_arrays = _MakeExamples(make_example).random_map(
                clips[index], np.random.default_rng(index)
            )
            rows.append({**example_arrays, "example_mask": np.float32(number < total)})
        yield collate(rows)


def check_crop(clips: ClipDataSource, crop: str) -> None:
    """Raises ValueError if the stored crops do not have the size of the config's crop."""
    spec = CROP_SPECS[crop]
    height, width = decode_frames(clips[0], range(1)).shape[1:3]
    if (height, width) != (spec.height, spec.width):
        raise ValueError(
            f"{clips.folder} holds crops of {height}x{width}; config.data.crop={crop} "
            f"means {spec.height}x{spec.width}"
        )
