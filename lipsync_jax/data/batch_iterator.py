"""An endless iterator of batches whose position is one number, with threads or worker processes."""

import os
import signal
from collections.abc import Iterator

import grain
from absl import flags, logging

from lipsync_jax import processes
from lipsync_jax.data import collate
from lipsync_jax.types import Entry

_MOST_WORKERS = 16
_LEAST_SHARED_MEMORY = 1 << 30  # bytes; containers often have 64 MB


class BatchIterator(Iterator[dict[str, Entry]]):
    """Batches in the order of a data set, made by threads of this process or by worker processes.

    The batches and the state do not depend on the number of threads or workers, so a run may resume
    with other numbers.

    Args:
        batches: random access to all batches; picklable where there are workers.
        num_threads: reading threads, where there are no workers.
        num_workers: worker processes, of one reading thread each; 0: none; -1: one for each core
            but one, at most 16, and none where shared memory is below 1 GB.
    """

    def __init__(self, batches: grain.MapDataset, num_threads: int, num_workers: int = 0) -> None:
        num_workers = _automatic_workers() if num_workers == -1 else num_workers
        self._batches, self._num_workers = batches, num_workers
        # Threads contend for the interpreter lock: a worker does all of its work in one.
        self._read_options = grain.ReadOptions(
            num_threads=0 if num_workers else num_threads, prefetch_buffer_size=4
        )
        self._next_index = 0
        self._iterator: grain.DatasetIterator | None = None

    def __next__(self) -> dict[str, Entry]:
        if self._iterator is None:
            self._iterator = self._start()
        batch = next(self._iterator)
        self._next_index += 1
        return batch

    def get_state(self) -> dict[str, int]:
        """Returns the position: the number of batches read."""
        return {"next_index": self._next_index}

    def set_state(self, state: dict[str, int]) -> None:
        """Continues at a position of `get_state`."""
        self.close()
        self._next_index = int(state["next_index"])

    def close(self) -> None:
        """Ends threads and worker processes; reading goes on with new ones."""
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None

    def _start(self) -> grain.DatasetIterator:
        batches = self._batches[self._next_index :].to_iter_dataset(self._read_options)
        if self._num_workers:
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()  # Grain hands its own flags to the workers
            options = grain.MultiprocessingOptions(
                num_workers=self._num_workers, per_worker_buffer_size=2
            )
            batches = grain.experimental.WithOptionsIterDataset(
                batches, grain.experimental.DatasetOptions(min_shm_size=collate.MIN_SHARED_BYTES)
            )
            batches = batches.mp_prefetch(options, worker_init_fn=_init_worker)
        return iter(batches)


def _automatic_workers() -> int:
    memory, _ = collate.shared_memory() or (_LEAST_SHARED_MEMORY, 0)
    if memory < _LEAST_SHARED_MEMORY:
        logging.info(
            "batches are made by threads of this process: shared memory has only %d MB",
            memory / 1e6,
        )
        return 0
    workers = max(1, min(processes.usable_cores() - 1, _MOST_WORKERS))
    logging.info("batches are made by %d worker process%s", workers, "es" * (workers != 1))
    return workers


def _init_worker(index: int, count: int) -> None:
    """Prepares a worker process, before the data set and the method are unpickled there."""
    del index, count
    import cv2

    os.environ["JAX_PLATFORMS"] = "cpu"  # accelerators belong to the training process
    cv2.setNumThreads(1)
    collate.share_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the training process ends its workers
    processes.end_with_parent()
