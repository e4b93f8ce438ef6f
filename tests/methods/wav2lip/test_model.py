"""The three networks against outputs of the official ones, computed from the same weights."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax import losses
from lipsync_jax.methods.wav2lip.model import (
    QualityDiscriminator,
    SyncExpert,
    Wav2Lip,
    needed_rows,
)
from lipsync_jax.methods.wav2lip.torch_weights import to_variables
from lipsync_jax.nn.cpu.jit import jit
from tests.golden import recipe

AUDIO = (80, 16, 1)


def abstract_outputs(module, *inputs):
    """Returns shapes of outputs and variables, without computing them."""
    inputs = [jax.ShapeDtypeStruct((2, *shape), jnp.float32) for shape in inputs]
    return jax.eval_shape(lambda *x: module.init_with_output(jax.random.key(0), *x), *inputs)


def generator_shapes(size=96, **fields):
    return abstract_outputs(Wav2Lip(image_size=size, **fields), AUDIO, (size, size, 6))


def expert_shapes(size=96, **fields):
    return abstract_outputs(SyncExpert(image_size=size, **fields), AUDIO, (size // 2, size, 15))


def discriminator_shapes(size=96, **fields):
    return abstract_outputs(QualityDiscriminator(image_size=size, **fields), (size, size, 3))


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def channels_last(x):
    return np.moveaxis(x, 1, -1)


def golden(official, network):
    """Returns expected arrays, inputs, variables; checks that the weights are the golden ones."""
    expected, state = recipe.expected(official), recipe.weights(official)
    meta = json.loads(str(expected["meta_json"]))
    assert recipe.checksum(state) == meta["weights"]["sha256"]
    return expected, recipe.inputs(official), to_variables(state, network)


def test_generator_equals_the_official_one():
    expected, inputs, variables = golden("wav2lip", "wav2lip")
    # The first two samples are a batch of images, the rest two windows of five.
    windows = inputs["face5"].swapaxes(1, 2).reshape(-1, 6, 96, 96)
    audio = np.concatenate([inputs["audio4"], inputs["audio5"].reshape(-1, 1, 80, 16)])
    faces = np.concatenate([inputs["face4"], windows])
    with jax.default_matmul_precision("highest"):
        logits = jit(lambda *x: Wav2Lip().apply(*x, method="logits"))(
            variables, channels_last(audio), channels_last(faces)
        )
    generated = np.asarray(jax.nn.sigmoid(logits))
    np.testing.assert_allclose(logits[:2], channels_last(expected["logits4"]), atol=1e-4)
    np.testing.assert_allclose(generated[:2], channels_last(expected["out4"]), atol=2e-5)
    windows = generated[2:].reshape(2, 5, 96, 96, 3).transpose(0, 4, 1, 2, 3)
    np.testing.assert_allclose(windows[..., ::4, ::4], expected["out5_s4"], atol=2e-5)
    np.testing.assert_allclose(windows.mean(dtype=float), expected["out5_mean"], atol=2e-6)
    np.testing.assert_allclose(windows.std(dtype=float), expected["out5_std"], atol=2e-6)


def test_rows_that_are_needed():
    # 3x3 convolutions: three rows above 39, the upsampling from row 18; two above it, from 8.
    assert needed_rows(39, [1, 2, 2, 3]) == [3, 8, 18, 39]
    assert needed_rows(2, [1, 2, 2, 3]) == [0, 0, 0, 2]
    assert needed_rows(0, []) == [0]


@pytest.mark.parametrize(
    ("size", "first_row", "depth"), [(96, 39, 0.5), (64, 23, 0.0), (48, 15, 1.0)]
)
def test_rows_of_an_image_are_those_of_the_whole_image(size, first_row, depth):
    network = Wav2Lip(width_mult=0.02, image_size=size, depth_mult=depth)
    rng = np.random.default_rng(0)
    audio, faces = rng.normal(size=(2, *AUDIO)), rng.uniform(size=(2, size, size, 6))
    shapes = abstract_outputs(network, AUDIO, (size, size, 6))[1]
    # Positive BatchNorm shifts: no channel ends in a ReLU.
    variables = jax.tree.map(lambda x: rng.uniform(0.1, 0.4, x.shape), shapes)
    with jax.enable_x64(True):
        whole, rows = (
            jit(functools.partial(network.apply, first_row=row, method="logits"), optimize=False)(
                variables, audio, faces
            )
            for row in (0, first_row)
        )
    np.testing.assert_allclose(rows, whole[:, first_row:], rtol=1e-12)
    assert np.ptp(whole[:, -1]) > 1e-3 * np.abs(whole).max()


def test_expert_equals_the_official_one():
    expected, inputs, variables = golden("syncnet_color", "sync_expert")
    with jax.default_matmul_precision("highest"):
        audio, faces = jit(SyncExpert().apply)(
            variables, channels_last(inputs["mel"]), channels_last(inputs["face"])
        )
    np.testing.assert_allclose(audio, expected["audio_emb"], atol=3e-6)
    np.testing.assert_allclose(faces, expected["face_emb"], atol=3e-6)
    cosine = losses.cosine_similarity(audio, faces)
    np.testing.assert_allclose(cosine, expected["cosine"], atol=3e-6)
    loss = losses.cosine_bce_loss(audio, faces, np.float32([1, 0, 1, 0]))
    np.testing.assert_allclose(loss, expected["bce_y1010"], atol=3e-6)


def test_discriminator_equals_the_official_one():
    expected, inputs, variables = golden("wav2lip_disc_qual", "quality_discriminator")
    frames = inputs["faces"].transpose(2, 0, 3, 4, 1).reshape(-1, 96, 96, 3)  # time-major
    with jax.default_matmul_precision("highest"):
        logits = jit(lambda *x: QualityDiscriminator().apply(*x, method="logits"))(
            variables, frames
        )
    probability = jax.nn.sigmoid(logits)
    np.testing.assert_allclose(logits, expected["logits"], atol=1e-5)
    np.testing.assert_allclose(probability, expected["pred"], atol=1e-5)
    for label, name in ((1.0, "loss_real"), (0.0, "loss_fake")):
        loss = losses.binary_cross_entropy(probability, label)
        np.testing.assert_allclose(loss, expected[name], atol=1e-5)


@pytest.mark.parametrize(
    ("network", "parameters", "statistics"),
    [
        (generator_shapes, 36_298_035, 22_752),
        (expert_shapes, 16_435_072, 14_080),
        (discriminator_shapes, 14_113_793, 0),
    ],
)
def test_published_sizes(network, parameters, statistics):
    _, variables = network()
    assert count(variables["params"]) == parameters
    assert count(variables.get("batch_stats", {})) == statistics


@pytest.mark.parametrize("size", [48, 64, 96, 128, 192, 256, 384])
def test_resolutions(size):
    faces, _ = generator_shapes(size, width_mult=0.25)
    assert faces.shape == (2, size, size, 3)
    embeddings, _ = expert_shapes(size, width_mult=0.25)
    assert [x.shape for x in embeddings] == [(2, 128), (2, 128)]
    logits, _ = discriminator_shapes(size, width_mult=0.25)
    assert logits.shape == (2, 1)


@pytest.mark.parametrize("size", [8, 100, 120, 144])
@pytest.mark.parametrize("network", [generator_shapes, expert_shapes, discriminator_shapes])
def test_refuses_sizes_that_cannot_be_halved(network, size):
    with pytest.raises(ValueError, match=f"image_size={size}: choose 3 or 4 times a power of two"):
        network(size)


def test_refuses_inputs_of_another_shape():
    with pytest.raises(ValueError, match=r"faces has shape \(2, 64, 64, 6\); Wav2Lip with image_"):
        abstract_outputs(Wav2Lip(), AUDIO, (64, 64, 6))
    with pytest.raises(ValueError, match=r"audio has shape \(2, 16, 80, 1\)"):
        abstract_outputs(SyncExpert(), (16, 80, 1), (48, 96, 15))


def test_width_scales_channels():
    full, quarter = (generator_shapes(width_mult=width)[1]["params"] for width in (1, 0.25))
    assert full.keys() == quarter.keys()
    for name in ("face_decoder_2_0", "face_encoder_3_1"):
        wide, narrow = full[name]["norm"]["scale"].shape, quarter[name]["norm"]["scale"].shape
        assert wide[0] == 4 * narrow[0]
    assert quarter["face_encoder_0_0"]["conv"]["kernel"].shape == (7, 7, 6, 8)
    assert quarter["output_1"]["kernel"].shape == (1, 1, 8, 3)


def test_depth_scales_residual_blocks():
    full, half, none = (
        set(generator_shapes(depth_mult=depth)[1]["params"]) for depth in (1, 0.5, 0)
    )
    assert none < half < full
    assert {"face_encoder_2_3", "face_decoder_5_2"} <= full - half
    assert {"face_encoder_2_2", "face_decoder_5_1"} <= half - none
    (_, shallow), (_, deep) = expert_shapes(depth_mult=0), expert_shapes()
    # 17 and 14 layers published, of which 9 and 8 are residual.
    assert len(deep["params"]) - len(shallow["params"]) == 9 + 8


def small(module, *inputs):
    """Random inputs in [0, 1] and variables of a narrow network."""
    rng = np.random.default_rng(0)
    inputs = [rng.random((2, *shape), np.float32) for shape in inputs]
    return jax.jit(module.init)(jax.random.key(0), *inputs), inputs


def test_expert_dropout_acts_only_in_training_with_a_key():
    module = SyncExpert(width_mult=0.05, image_size=24, depth_mult=0, dropout=0.5)
    variables, inputs = small(module, AUDIO, (12, 24, 15))

    def embed(variables, inputs, rngs):
        options = {"train": True, "mutable": ["batch_stats"], "rngs": rngs}
        return module.apply(variables, *inputs, **options)[0]

    embed = jit(embed, optimize=False)
    without, one, other = (
        embed(variables, inputs, rngs)
        for rngs in ({}, {"dropout": jax.random.key(1)}, {"dropout": jax.random.key(2)})
    )
    for i in range(2):
        assert not np.allclose(one[i], other[i])
        assert not np.allclose(one[i], without[i])


def test_expert_embeddings_have_length_one_and_are_rectified_by_default():
    for last in (True, False):
        module = SyncExpert(width_mult=0.05, image_size=24, depth_mult=0, relu_embedding=last)
        variables, inputs = small(module, AUDIO, (12, 24, 15))
        for embedding in jax.jit(module.apply)(variables, *inputs):
            np.testing.assert_allclose(jnp.linalg.norm(embedding, axis=1), 1, rtol=1e-5)
            assert (embedding.min() < 0) == (not last)


@pytest.mark.parametrize("network", [generator_shapes, discriminator_shapes, expert_shapes])
def test_reduced_precision_ends_in_float32(network):
    out, variables = network(width_mult=0.1, dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves((out, variables))} == {jnp.dtype("float32")}
