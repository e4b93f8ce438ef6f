import numpy as np
import pytest

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
