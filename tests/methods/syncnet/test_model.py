"""SyncNet v2 against outputs of the released code."""

import json

import jax
import numpy as np
import pytest

from lipsync_jax.methods.syncnet.model import SyncNetV2
from lipsync_jax.methods.wav2lip.torch_weights import to_variables
from lipsync_jax.nn.cpu.jit import jit
from tests.golden import recipe


@pytest.fixture(scope="module")
def golden():
    return recipe.expected("syncnet_v2")


@pytest.fixture(scope="module")
def inputs():
    return recipe.inputs("syncnet_v2")


def test_embeddings_equal_the_released_network(golden, inputs):
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
