import jax
import numpy as np
import pytest

from lipsync_jax.synthesis import batch_sizes, batching
from lipsync_jax.synthesis.dubbing_model import DubbingModel


def test_batches_are_made_smaller_for_large_frames():
    assert batch_sizes.max_batch_size_for(64, (640, 360)) == 64
    assert batch_sizes.max_batch_size_for(64, (3840, 2160)) == 2
    assert batch_sizes.max_batch_size_for(2, (3840, 2160)) == 2
    assert batch_sizes.max_batch_size_for(64, (100_000, 100_000)) == 1


class Late:
    """A result whose failure is told only when it is read, as the device does."""

    def __init__(self, value, error):
        self._value, self._error = value, error

    def __array__(self, dtype=None, copy=None):
        if self._error:
            raise self._error
        return self._value


class Device:
    """Draws inverted faces, as many at a time as fit."""

    def __init__(self, fits, late=False, message="RESOURCE_EXHAUSTED: Out of memory"):
        self.fits, self.late, self.message, self.shapes = fits, late, message, []

    def __call__(self, audio_windows, faces):
        self.shapes.append(len(faces))
        assert len(audio_windows) == len(faces)
        error = jax.errors.JaxRuntimeError(self.message) if len(faces) > self.fits else None
        if error and not self.late:
            raise error
        return Late(255 - faces, error)


def some(count):
    rng = np.random.default_rng(count)
    faces = rng.integers(0, 256, (count, 8, 8, 3), np.uint8)
    return np.zeros((count, 16, 80), np.float32), faces


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("count", [1, 8, 21])
def test_out_of_memory_halves_the_batch_and_loses_nothing(late, count):
    device = Device(fits=3, late=late)
    batcher = batching.Batcher(DubbingModel(device, 8, "name"), 16)
    audio_windows, faces = some(count)
    first, second = batcher.submit(audio_windows, faces), batcher.submit(audio_windows, 255 - faces)
    np.testing.assert_array_equal(first.result(), 255 - faces)
    np.testing.assert_array_equal(second.result(), faces)
    assert batcher.batch_size == 2 and set(device.shapes) == {16, 8, 4, 2}
    device.shapes.clear()
    batcher.submit(audio_windows, faces).result()
    assert set(device.shapes) == {2}  # it stays so


def test_no_memory_for_one_face_is_an_error_that_says_what_to_do():
    batcher = batching.Batcher(DubbingModel(Device(fits=0), 8, "name"), 4)
    with pytest.raises(MemoryError, match=r"not enough memory .*JAX_PLATFORMS=cpu"):
        batcher.submit(*some(4)).result()


def test_other_failures_of_the_device_are_not_hidden():
    batcher = batching.Batcher(DubbingModel(Device(fits=0, message="INTERNAL: lost"), 8, "name"), 4)
    with pytest.raises(jax.errors.JaxRuntimeError, match="lost"):
        batcher.submit(*some(3))
