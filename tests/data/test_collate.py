import numpy as np
import pytest
from grain.multiprocessing import SharedMemoryArray

from lipsync_jax.data import collate


def row(length, value):
    return {
        "frames": np.full((length, 2, 2), value, np.uint8),
        "audio": np.full((length, 3), value, np.float32),
        "who": np.array(value),
    }


def test_examples_are_filled_up_to_the_shortest_length_that_holds_them():
    batch = collate.pad_and_stack([row(3, 1), row(5, 2)], ("frames", "audio"), (8, 4, 6))
    assert batch["frames"].shape == (2, 6, 2, 2) and batch["frames"].dtype == np.uint8
    assert batch["audio"].shape == (2, 6, 3) and batch["audio"].dtype == np.float32
    np.testing.assert_array_equal(batch["mask"].sum(axis=1), [3, 5])
    np.testing.assert_array_equal(batch["audio"][..., 0], batch["mask"] * [[1], [2]])
    np.testing.assert_array_equal(batch["who"], [1, 2])


def test_one_exactly_as_long_is_not_filled_up():
    batch = collate.pad_and_stack([row(4, 1)], ("frames", "audio"), (4, 6))
    assert batch["mask"].shape == (1, 4) and batch["mask"].all()


def test_an_example_longer_than_all_lengths_is_refused():
    with pytest.raises(ValueError, match="7 frames fits none of the lengths"):
        collate.pad_and_stack([row(7, 1)], ("frames",), (4, 6))


def test_a_worker_process_stacks_in_shared_memory(monkeypatch):
    rows = [{"frames": np.full((60, 30, 40), n, np.uint8), "label": np.float32(n)} for n in (1, 2)]
    expected = collate.stack(rows)
    monkeypatch.setattr(collate, "_stacks_shared", True)
    shared = collate.stack(rows)
    for name, values in expected.items():
        np.testing.assert_array_equal(shared[name], values)
        assert shared[name].dtype == values.dtype
    assert isinstance(shared["frames"], SharedMemoryArray)
    assert not isinstance(shared["label"], SharedMemoryArray)
    shared["frames"].unlink_on_del()


def test_too_little_shared_memory_is_an_error_with_advice(monkeypatch):
    monkeypatch.setattr(collate, "_stacks_shared", True)
    monkeypatch.setattr(collate, "shared_memory", lambda: (64_000_000, 100_000))
    rows = [{"frames": np.zeros((60, 30, 40), np.uint8)} for _ in range(2)]
    message = r"has 64 MB, 0 of them free; .* takes 0 MB\. Make it larger \(docker run --shm-size"
    with pytest.raises(OSError, match=message):
        collate.stack(rows)
