"""Batches of one shape for the device, made smaller by themselves where memory does not suffice."""

import logging

import jax
import numpy as np

from lipsync_jax.synthesis.dubbing_model import Editor

_GROUP_MEMORY = 64 << 20  # bytes of frames that may wait for one batch


def fitting_batch(wanted: int, size: tuple[int, int]) -> int:
    """The batch to run so that a batch of frames of (width, height) `size` fits in memory."""
    width, height = size
    most = max(1, _GROUP_MEMORY // (3 * width * height))
    # Powers of two, so that videos of many sizes share few compiled programs.
    return wanted if wanted <= most else 1 << (most.bit_length() - 1)


def usual_batch() -> int:
    """Frames to draw at once where nobody chose."""
    return 16 if jax.default_backend() == "cpu" else 64


class Batcher:
    """Draws any number of faces in batches of one shape.

    When the device runs out of memory, batches are halved, for good, and what was lost is drawn
    again.

    Attributes:
        editor: what draws.
        size: faces in a batch.
    """

    def __init__(self, editor: Editor, size: int) -> None:
        self.editor, self.size = editor, size

    def compile(self) -> None:
        """Draws nothing, so that the program is there when it is needed."""
        self.start(*self.editor.empty_inputs(self.size)).read()

    def start(self, sound: np.ndarray, faces: np.ndarray) -> "Pending":
        """Starts drawing; see `Editor.draw` for shapes, of any number of faces."""
        return Pending(self, sound, faces)

    def halve(self, failed: int, error: Exception) -> None:
        """Makes batches smaller than one that failed.

        Raises:
            MemoryError: it was of one face.
        """
        if failed == 1:
            raise MemoryError(
                "the device has not enough memory to draw a single face; end other programs that "
                "use it, or run on the CPU (JAX_PLATFORMS=cpu)"
            ) from error
        self.size = min(self.size, failed // 2)
        logging.warning("out of memory: batches of %d from here on", self.size)


class Pending:
    """Faces that are being drawn."""

    def __init__(self, batcher: Batcher, sound: np.ndarray, faces: np.ndarray) -> None:
        self._batcher, self._sound, self._faces = batcher, sound, faces
        self._size, self._parts = batcher.size, []
        try:
            self._parts = [self._draw(first) for first in range(0, len(faces), self._size)]
        except jax.errors.JaxRuntimeError as error:
            self._retry(error)

    def read(self) -> np.ndarray:
        """Waits for the faces, uint8 (n, size, size, 3), BGR.

        Raises:
            MemoryError: not even one face can be drawn at a time.
        """
        while True:
            try:
                parts = [np.asarray(part) for part in self._parts]
                return np.concatenate(parts)[: len(self._faces)]
            except jax.errors.JaxRuntimeError as error:
                self._retry(error)

    def _draw(self, first: int) -> np.ndarray | jax.Array:
        part = slice(first, first + self._size)
        return self._batcher.editor(self._sound[part], self._faces[part], self._size)

    def _retry(self, error: Exception) -> None:
        """Draws all again in smaller batches, each awaited before the next."""
        while True:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise error
            self._parts.clear()  # frees what is on the device
            self._batcher.halve(self._size, error)
            self._size = self._batcher.size
            try:
                for first in range(0, len(self._faces), self._size):
                    self._parts.append(np.asarray(self._draw(first)))
                return
            except jax.errors.JaxRuntimeError as again:
                error = again
