"""Makes examples of clips, and batches of examples for each host."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import grain
import numpy as np

from lipsync_jax.data.batch_iterator import BatchIterator
from lipsync_jax.data.clip import Clip
from lipsync_jax.data.collate import stack
from lipsync_jax.data.loader import DataSource
from lipsync_jax.types import Entry, Untyped

_EPOCHS = 2**31  # endless in practice; grain's own endless repeat overflows with batches of one
ExampleFn = Callable[[Entry, np.random.Generator], dict[str, Entry]]
CollateFn = Callable[[Sequence[dict[str, Entry]]], dict[str, Entry]]


@runtime_checkable
class OrderedDataSource(DataSource, Protocol):
    """A data source that decides on its own order, see `mixture.Mixture`."""

    def dataset(self, seed: int, epochs: int) -> grain.MapDataset:
        """Returns the clips in an order that the seed fixes, `epochs` times."""


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
    num_threads: int = 1,
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
        num_workers: number of worker processes, which must be able to unpickle the arguments; 0:
            threads of this process make the batches; -1: chosen by the cores, see `BatchIterator`.

    Returns:
        An iterator whose `get_state()` and `set_state()` hold its exact position; threads and
        workers change neither batches nor position.

    Raises:
        ValueError: the number of threads is negative, or that of workers below -1.
    """
    if num_threads < 0 or num_workers < -1:
        raise ValueError(
            f"config.data.num_threads={num_threads} and config.data.num_workers={num_workers}: "
            "give 0 or more, or -1 for as many workers as there are cores"
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
