import numpy as np
import pytest

from lipsync_jax.data import mixture, pipeline


class Numbers:
    """A source of clips that are numbers."""

    def __init__(self, first, count):
        self._values = range(first, first + count)

    def __len__(self):
        return len(self._values)

    def __getitem__(self, index):
        return Number(self._values[index])


class Number:
    def __init__(self, value):
        self.value, self.clip_id = value, str(value)


def _example(clip, rng):
    return {"value": np.int64(clip.value), "draw": rng.integers(1 << 40)}


def _mixed(weights=(3.0, 1.0)):
    return mixture.Mixture((Numbers(0, 4), Numbers(100, 12)), weights)


def test_weights_and_folders_are_read():
    parts = mixture.parse("data/a=0.5, data/b ,c=d=2")
    assert parts == (
        mixture.Part("data/a", 0.5),
        mixture.Part("data/b", 1.0),
        mixture.Part("c=d", 2.0),
    )
    assert mixture.parse("") == ()


@pytest.mark.parametrize("text", ["a=0", "a=-1", "a=much", "=2", "a=nan", "a=1,a=2"])
def test_a_bad_weight_or_a_folder_named_twice_is_refused(text):
    with pytest.raises(ValueError, match=r"config\.data\.dirs"):
        mixture.parse(text)


def test_clips_come_by_weight_and_every_clip_comes():
    batches = pipeline.training_batches(_mixed(), _example, 4, seed=0)
    values = np.concatenate([next(batches)["value"] for _ in range(48)])
    assert np.mean(values < 100) == pytest.approx(0.75, abs=0.02)
    assert len(set(values)) == 16


def test_a_small_set_repeats_in_a_new_order_with_new_draws():
    batches = pipeline.training_batches(_mixed((1.0, 1.0)), _example, 8, seed=0)
    small = [batch for batch in (next(batches) for _ in range(8))]
    orders = [tuple(batch["value"][batch["value"] < 100]) for batch in small]
    assert len(set(orders)) > 1
    draws = np.concatenate([batch["draw"] for batch in small])
    assert len(set(draws)) == len(draws)


def test_the_position_in_a_mixture_is_restored_exactly():
    batches = pipeline.training_batches(_mixed(), _example, 3, seed=7)
    for _ in range(5):
        next(batches)
    position = batches.get_state()
    expected = [next(batches) for _ in range(4)]
    again = pipeline.training_batches(_mixed(), _example, 3, seed=7)
    again.set_state(position)
    for batch in expected:
        for name, values in next(again).items():
            np.testing.assert_array_equal(values, batch[name])


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_make_the_batches_of_one_host(hosts):
    one = pipeline.training_batches(_mixed(), _example, 8, seed=1)
    several = [
        pipeline.training_batches(
            _mixed(), _example, 8 // hosts, seed=1, process_index=host, process_count=hosts
        )
        for host in range(hosts)
    ]
    for step in range(12):
        if step == 5:  # a run goes on with other processes
            for batches in several:
                batches.set_state(one.get_state())
        parts = [next(batches) for batches in several]
        for name, values in next(one).items():
            np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), values)


def test_prepared_folders_are_mixed(toy_data):
    mixed = mixture.load(mixture.parse(f"{toy_data}=2"), "face96")
    assert len(mixed) == 12
    assert mixed[11].clip_id.startswith("train/")
