"""Shards -> clips -> examples -> host batches. Reads ArrayRecord without TensorFlow."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import grain
import numpy as np

from lipsync_jax.data.clip import GEOMETRIES, Clip, decode_frames, from_record
from lipsync_jax.data.collate import stack
from lipsync_jax.types import Entry

_EPOCHS = 2**31  # endless; the length of grain's own endless data is too large in batches of one
Example = Callable[[Entry, np.random.Generator], dict[str, Entry]]
Collate = Callable[[Sequence[dict[str, Entry]]], dict[str, Entry]]


class Source(Protocol):
    """What examples are made of: clips, or what a method has in their place."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Entry: ...  # what the method's `example` takes


def find_dataset(data_dir: str, geometry: str) -> Path:
    """The folder of a prepared data set.

    Args:
        data_dir: that folder itself, or any folder above it.
        geometry: the builder config wanted, e.g. `face96`.

    Raises:
        FileNotFoundError: nothing of that geometry is there.
        ValueError: several data sets are, so that the choice is the user's.
    """
    if not data_dir:
        raise ValueError("config.data.dir is empty: name the folder that `lipsync prepare` wrote")
    root = Path(data_dir)
    if not root.is_dir():
        raise FileNotFoundError(
            f"data folder {root} does not exist; name the one that `lipsync prepare` wrote"
        )
    if (root / "dataset_info.json").is_file():
        return root
    found = sorted(p.parent for p in root.rglob("dataset_info.json"))
    matching = [p for p in found if p.parent.name == geometry]
    if not matching:
        others = ", ".join(str(p.relative_to(root)) for p in found) or "nothing"
        raise FileNotFoundError(
            f"{root} holds no prepared data set of geometry {geometry} (found: {others}); "
            f"write one with `lipsync prepare --input VIDEOS --out {root} --geometry {geometry}`"
        )
    if len(matching) > 1:
        names = ", ".join(str(p.relative_to(root)) for p in matching)
        raise ValueError(f"{root} holds several {geometry} data sets ({names}); name one of them")
    return matching[0]


class Clips:
    """Random access to one split's clips; a `grain` source.

    Args:
        folder: what `find_dataset` returns.
        split: `train`, `validation` or `test`.

    Raises:
        ValueError: the split does not exist or is empty, or a record can't be read (the message
            names the folder and the record).
    """

    def __init__(self, folder: Path, split: str) -> None:
        import tensorflow_datasets as tfds  # half a second; inference never needs it

        self.folder, self.split = Path(folder), split
        builder = tfds.builder_from_directory(self.folder)
        if split not in builder.info.splits or not builder.info.splits[split].num_examples:
            raise ValueError(f"{folder} has no clips in its split {split!r}")
        self._files = [str(p) for p in builder.info.splits[split].filepaths]
        self._records = builder.as_data_source(split)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Clip:
        try:
            return from_record(self._records[index])
        except Exception as error:
            raise ValueError(
                f"record {index} of split {self.split!r} can't be read; its shards are "
                f"{self._files[0]} and {len(self._files) - 1} more: {error}. "
                "Write the data set again."
            ) from error

    def __repr__(self) -> str:  # grain prints its sources
        return f"Clips({self.folder}, {self.split!r})"


@dataclasses.dataclass(frozen=True)
class _Examples(grain.transforms.RandomMap):
    example: Example

    def random_map(self, element: Clip, rng: np.random.Generator) -> dict[str, Entry]:
        try:
            made = self.example(element, rng)
        except Exception as error:
            raise ValueError(
                f"no example can be made of clip {element.clip_id}: {error}"
            ) from error
        return {**made, "clip_id": np.array(element.clip_id)}


def training_batches(
    clips: Source,
    example: Example,
    batch_size: int,
    *,
    seed: int,
    collate: Collate = stack,
    process: int = 0,
    processes: int = 1,
    threads: int = 4,
) -> grain.DatasetIterator:
    """Endless shuffled batches of one host's share, in an order fixed by the seed.

    Args:
        clips: the split.
        example: clip, rng -> example.
        batch_size: examples a batch on this host.
        seed: of the order and of the examples' rngs.
        collate: examples -> batch.
        process: this host's number.
        processes: hosts; each reads every `processes`-th clip.
        threads: reading threads.

    Returns:
        An iterator whose `get_state()` and `set_state()` hold its exact position.
    """
    if len(clips) < processes:
        raise ValueError(f"{clips} has {len(clips)} clips, fewer than the {processes} hosts")
    # Host h must not repeat host 0's random windows, so its seed differs.
    data = grain.MapDataset.source(clips)[process::processes].seed(seed + process)
    data = data.shuffle().repeat(_EPOCHS).random_map(_Examples(example))
    data = data.batch(batch_size, batch_fn=collate)
    return iter(
        data.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4))
    )


def validation_batches(
    clips: Source,
    example: Example,
    batch_size: int,
    *,
    limit: int = 0,
    collate: Collate = stack,
    process: int = 0,
    processes: int = 1,
) -> Iterator[dict[str, Entry]]:
    """One pass over a split, the same at every call.

    The last batch is filled up with copies; `valid` (batch,) float32 is 0 for those. Every host
    gives the same number of batches.

    Args:
        clips: the split.
        example: clip, rng -> example; the rng depends on the clip's number alone.
        batch_size: examples a batch on this host.
        limit: clips at most, over all hosts; 0 takes all.
        collate: examples -> batch.
        process: this host's number.
        processes: hosts.
    """
    total = min(limit, len(clips)) if limit else len(clips)
    per_batch = batch_size * processes
    for start in range(0, total, per_batch):
        rows = []
        for slot in range(batch_size):
            number = start + slot * processes + process
            index = min(number, total - 1)
            made = _Examples(example).random_map(clips[index], np.random.default_rng(index))
            rows.append({**made, "valid": np.float32(number < total)})
        yield collate(rows)


def check_geometry(clips: Clips, geometry: str) -> None:
    """Raises ValueError when the stored crops are not what the config says."""
    wanted = GEOMETRIES[geometry]
    height, width = decode_frames(clips[0], range(1)).shape[1:3]
    if (height, width) != (wanted.height, wanted.width):
        raise ValueError(
            f"{clips.folder} holds crops of {height}x{width}; config.data.geometry={geometry} "
            f"means {wanted.height}x{wanted.width}"
        )
