import gc
import tracemalloc

import cloudpickle
import numpy as np
import pytest

from configs import flownet, sync_expert, vougioukas, wav2lip
from lipsync_jax import methods
from lipsync_jax.data import loader, pipeline


@pytest.fixture
def clips(toy_data):
    return loader.ClipDataSource(loader.find_dataset(str(toy_data), "face96"), "train")


@pytest.mark.parametrize("module", [sync_expert, wav2lip, vougioukas, flownet])
def test_workers_can_unpickle_a_method(module):
    card = {"config": sync_expert.get_config().to_dict()}
    config = module.get_config()
    method = methods.load(config, {name: card for name in config.frozen})
    again = cloudpickle.loads(cloudpickle.dumps((method.make_example, method.collate)))
    assert len(again) == 2


def test_a_run_of_the_sync_expert_resumes_with_equal_batches(clips):
    method = methods.load(sync_expert.get_config(), {})
    options = {"collate": method.collate, "seed": 3}
    batches = pipeline.training_batches(clips, method.make_example, 4, **options)
    for _ in range(4):  # into the second epoch
        next(batches)
    position = batches.get_state()
    expected = [next(batches) for _ in range(3)]
    again = pipeline.training_batches(clips, method.make_example, 4, num_threads=1, **options)
    again.set_state(position)
    for batch in expected:
        resumed = next(again)
        for name, values in batch.items():
            np.testing.assert_array_equal(resumed[name], values)


def test_memory_does_not_grow_over_epochs(clips):
    method = methods.load(sync_expert.get_config(), {})
    batches = pipeline.training_batches(clips, method.make_example, 4, seed=0, num_threads=0)

    def held_after(epochs):
        for _ in range(3 * epochs):
            next(batches)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    held_after(2)
    tracemalloc.start()
    try:
        first = held_after(1)
        assert held_after(8) < first + 100_000  # bytes; a batch has 550,000
    finally:
        tracemalloc.stop()
