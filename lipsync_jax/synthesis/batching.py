"""Batches of one shape for the device, halved when the device runs out of memory."""

import logging

import jax
import numpy as np

from lipsync_jax.synthesis.dubbing_model import DubbingModel


class Batcher:
    """Generates any number of faces in batches of one shape.

    When the device runs out of memory, the batch size is halved for the rest of the run, and the
    lost batch is generated again.

    Attributes:
        model: generates the faces.
        batch_size: faces in a batch.
        first_row: rows of the faces above it are not needed, see `GeneratorProgram`.
    """

    def __init__(self, model: DubbingModel, batch_size: int, first_row: int = 0) -> None:
        self.model, self.batch_size, self.first_row = model, batch_size, first_row

    def compile(self) -> None:
        """Compiles the program for a batch."""
        self.model.compile(self.batch_size, self.first_row)

    def submit(self, audio: np.ndarray, faces: np.ndarray) -> "PendingBatch":
        """Starts generating any number of faces; see `DubbingModel.__call__` for shapes."""
        return PendingBatch(self, audio, faces)

    def reduce_batch_size(self, failed: int, error: Exception) -> None:
        """Halves the batch size after a batch that failed.

        Raises:
            MemoryError: the failed batch had one face.
        """
        if failed == 1:
            raise MemoryError(
                "the device has not enough memory to generate a single face; end other programs "
                "on the device, or run on the CPU (JAX_PLATFORMS=cpu)"
            ) from error
        self.batch_size = min(self.batch_size, failed // 2)
        logging.warning("out of memory: batches of %d from here on", self.batch_size)


class PendingBatch:
    """Faces that the device is generating."""

    def __init__(self, batcher: Batcher, audio: np.ndarray, faces: np.ndarray) -> None:
        self._batcher, self._audio, self._faces = batcher, audio, faces
        self._batch_size, self._parts = batcher.batch_size, []
        try:
            self._parts = [
                self._generate(first) for first in range(0, len(faces), self._batch_size)
            ]
        except jax.errors.JaxRuntimeError as error:
            self._retry(error)

    def result(self) -> np.ndarray:
        """Waits for the faces, uint8 (n, size, size, 3), BGR.

        Raises:
            MemoryError: the device can't generate a single face.
        """
        while True:
            try:
                parts = [np.asarray(part) for part in self._parts]
                return np.concatenate(parts)[: len(self._faces)]
            except jax.errors.JaxRuntimeError as error:
                self._retry(error)

    def _generate(self, first: int) -> np.ndarray | jax.Array:
        part = slice(first, first + self._batch_size)
        batcher = self._batcher
        return batcher.model(
            self._audio[part], self._faces[part], self._batch_size, batcher.first_row
        )

    def _retry(self, error: Exception) -> None:
        """Generates all faces again in smaller batches, each awaited before the next."""
        while True:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise error
            self._parts.clear()  # frees memory of the device
            self._batcher.reduce_batch_size(self._batch_size, error)
            self._batch_size = self._batcher.batch_size
            try:
                for first in range(0, len(self._faces), self._batch_size):
                    self._parts.append(np.asarray(self._generate(first)))
                return
            except jax.errors.JaxRuntimeError as again:
                error = again
