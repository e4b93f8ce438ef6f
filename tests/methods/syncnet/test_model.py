"""SyncNet v2 and its offset search against outputs of the released code."""

import json

import jax
import numpy as np
import pytest

from lipsync_jax.methods.syncnet.model import SyncNetV2, offset_search
from lipsync_jax.methods.wav2lip.torch_weights import to_variables
from lipsync_jax.nn.cpu.jit import jit
from tests.golden import recipe


@pytest.fixture(scope="module")
def golden():
    return recipe.expected("syncnet_v2")


@pytest.fixture(scope="module")
def inputs():
    return recipe.inputs("syncnet_v2")


def test_embeds_as_the_released_network(golden, inputs):
    state = recipe.weights("syncnet_v2")
    checksum = json.loads(str(golden["meta_json"]))["weights"]["sha256"]
    assert recipe.checksum(state) == checksum
    variables = to_variables(state, "syncnet_v2")
    module = SyncNetV2()

    @jit
    def embed(variables, mfcc, frames):
        features = module.apply(variables, frames, method="lip_features")
        return *module.apply(variables, mfcc, frames), features

    mfcc, frames = np.moveaxis(inputs["mfcc"], 1, -1), inputs["lip"].transpose(0, 2, 3, 4, 1)
    with jax.default_matmul_precision("highest"):
        audio, lips, features = embed(variables, mfcc, frames)
    for ours, name in ((audio, "aud_out"), (lips, "lip_out"), (features, "lipfeat")):
        expected = golden[name]
        np.testing.assert_allclose(ours, expected, atol=2e-5 * np.abs(expected).max(), rtol=0)


def test_published_size():
    shapes = [
        jax.ShapeDtypeStruct((1, *shape), "float32") for shape in [(13, 20, 1), (5, 224, 224, 3)]
    ]
    variables = jax.eval_shape(SyncNetV2().init, jax.random.key(0), *shapes)
    sizes = {name: sum(x.size for x in jax.tree.leaves(part)) for name, part in variables.items()}
    assert sizes == {"params": 13_631_616, "batch_stats": 8_640}


def test_offset_search_as_released(golden, inputs):
    found = offset_search(inputs["vfeat"], inputs["afeat"])
    assert found.offset == golden["pdist_offset"] == -3
    np.testing.assert_allclose(found.distances, golden["pdist_mdist"], rtol=1e-5)
    np.testing.assert_allclose(found.distance, golden["pdist_minval"], rtol=1e-5)
    np.testing.assert_allclose(found.confidence, golden["pdist_conf"], rtol=1e-4)
    np.testing.assert_allclose(found.frame_confidence, golden["pdist_fconfm"], atol=1e-4)


@pytest.mark.parametrize("delay", [-6, 0, 9])
def test_offset_has_the_sign_of_the_shift_that_repairs(delay):
    rng = np.random.default_rng(0)
    sound = rng.standard_normal((80, 16))
    lips = np.roll(sound, delay, axis=0)  # a picture's sound is `delay` frames earlier
    found = offset_search(lips, sound)
    assert found.offset == delay
    assert found.distance == found.distances.min() == found.distances[15 - delay]
    assert found.confidence > 1


def test_offset_search_by_definition():
    rng = np.random.default_rng(1)
    lips, sound = rng.standard_normal((2, 12, 4))
    found = offset_search(lips, sound, shift=2)
    for k, distance in enumerate(found.distances):
        each = []
        for i, lip in enumerate(lips):
            j = i + k - 2
            other = sound[j] if 0 <= j < len(sound) else np.zeros(4)
            each.append(np.sqrt(((lip - other + 1e-6) ** 2).sum()))
        np.testing.assert_allclose(distance, np.mean(each))


@pytest.mark.parametrize("shapes", [((3, 4), (2, 4)), ((3,), (3,)), ((0, 4), (0, 4))])
def test_offset_search_refuses_other_shapes(shapes):
    with pytest.raises(ValueError, match="must both be"):
        offset_search(*map(np.zeros, shapes))
