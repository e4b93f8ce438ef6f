"""SyncNet's offset search against outputs of the released code."""

import numpy as np
import pytest

from lipsync_jax.evaluation.sync.offset_search import offset_search
from tests.golden import recipe


def test_offset_search_as_released():
    golden, inputs = recipe.expected("syncnet_v2"), recipe.inputs("syncnet_v2")
    found = offset_search(inputs["vfeat"], inputs["afeat"])
    # The released code reports how much later the audio has to be moved.
    assert -found.offset == golden["pdist_offset"] == -3
    np.testing.assert_allclose(found.distances, golden["pdist_mdist"], rtol=1e-5)
    np.testing.assert_allclose(found.distance, golden["pdist_minval"], rtol=1e-5)
    np.testing.assert_allclose(found.confidence, golden["pdist_conf"], rtol=1e-4)
    np.testing.assert_allclose(found.frame_confidence, golden["pdist_fconfm"], atol=1e-4)


@pytest.mark.parametrize("delay", [-6, 0, 9])
def test_the_offset_is_positive_where_the_audio_is_later(delay):
    rng = np.random.default_rng(0)
    video = rng.standard_normal((80, 16))
    audio = np.roll(video, delay, axis=0)  # the audio of a frame comes `delay` frames later
    found = offset_search(video, audio)
    assert found.offset == delay
    assert found.distance == found.distances.min() == found.distances[15 + delay]
    assert found.confidence > 1


def test_offset_search_by_definition():
    rng = np.random.default_rng(1)
    video, audio = rng.standard_normal((2, 12, 4))
    found = offset_search(video, audio, max_offset=2)
    for k, distance in enumerate(found.distances):
        each = []
        for i, embedding in enumerate(video):
            j = i + k - 2
            other = audio[j] if 0 <= j < len(audio) else np.zeros(4)
            each.append(np.sqrt(((embedding - other + 1e-6) ** 2).sum()))
        np.testing.assert_allclose(distance, np.mean(each))


@pytest.mark.parametrize("shapes", [((3, 4), (2, 4)), ((3,), (3,)), ((0, 4), (0, 4))])
def test_offset_search_refuses_other_shapes(shapes):
    with pytest.raises(ValueError, match="must both be"):
        offset_search(*map(np.zeros, shapes))
