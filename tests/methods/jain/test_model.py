import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax.methods.jain.model import (
    FrameDiscriminator,
    Generator,
    MFCCEncoder,
    SequenceDiscriminator,
    pyramid_pool,
)
from tests.helpers.networks import abstract_variables, count_parameters, random_array

CLIP, AUDIO = (3, 128, 96, 3), (3, 35, 12)


def test_sizes_of_the_generator():
    (_, frames), made = abstract_variables(Generator(), CLIP[1:], AUDIO, (3, 10))
    assert frames.shape == (2, *CLIP)
    params = made["params"]
    assert count_parameters(params["audio_encoder"]) == 6_928_000
    assert count_parameters(params["context"]) == 789_504
    assert count_parameters(params["identity_encoder"]) == 11_762_560
    assert count_parameters(params["noise"]) == 1_320
    sizes = {name: count_parameters(layer) for name, layer in params["decoder"].items()}
    assert sizes == {
        "start": 3_885_056,
        "up_3": 8_389_632,
        "fuse_3": 4_719_616,
        "up_2": 2_097_664,
        "fuse_2": 1_180_160,
        "up_1": 524_544,
        "fuse_1": 295_168,
        "up_0": 131_200,
        "fuse_0": 73_856,
        "output": 3_072,
    }
    assert count_parameters(params) == 40_781_352


def test_sizes_of_the_discriminators():
    logits, made = abstract_variables(FrameDiscriminator(), CLIP[1:], CLIP[1:])
    assert logits.shape == (2,)
    sizes = [
        count_parameters(made["params"][name]) for name in ("conv_0", "conv_3", "hidden", "logits")
    ]
    assert sizes == [1_760, 295_680, 6_291_968, 513]
    logits, made = abstract_variables(SequenceDiscriminator(), CLIP, AUDIO)
    assert logits.shape == (2,)
    parts = ("image_encoder", "audio_encoder", "context", "hidden", "logits")
    sizes = [count_parameters(made["params"][name]) for name in parts]
    assert sizes == [3_575_296, 6_928_000, 887_808, 459_008, 257]


def test_shapes_within_the_audio_encoder():
    def run(x):
        return MFCCEncoder(width_mult=1 / 64).init_with_output(
            jax.random.key(0), x, False, capture_intermediates=True, mutable=True
        )

    embedding, made = jax.eval_shape(run, jnp.zeros((2, 35, 12)))
    assert embedding.shape == (2, 256)
    layers = made["intermediates"]
    heights = [layers[f"conv_{i}"]["__call__"][0].shape[1:3] for i in (0, 1, 3, 4, 5)]
    assert heights == [(12, 35), (12, 35), (11, 17), (11, 17), (11, 17)]
    assert made["params"]["dense_0"]["kernel"].shape[:2] == (5, 8)


def test_refuses_audio_of_another_shape():
    with pytest.raises(ValueError, match=r"audio has shape \(6, 12, 35\); MFCCEncoder takes"):
        abstract_variables(Generator(), CLIP[1:], (3, 12, 35), (3, 10))


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 10])
def test_pyramid_of_a_clip_is_of_its_own_length(length):
    x = random_array(1, 10, 3)
    found = pyramid_pool(x, np.array([length])).reshape(7, 3)
    expected = [
        x[0, i * length // level : -(-(i + 1) * length // level)].max(axis=0)
        for level in (1, 2, 4)
        for i in range(level)
    ]
    np.testing.assert_array_equal(found, expected)
