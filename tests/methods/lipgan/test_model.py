import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from lipsync_jax.methods.lipgan.model import AUDIO_SHAPES, Discriminator, Generator, InstanceNorm
from lipsync_jax.nn.blocks import ConvNormAct
from lipsync_jax.nn.cpu.jit import jit
from tests.helpers import networks
from tests.helpers.networks import abstract_variables, count_parameters, random_array

FACES, FACE = (96, 96, 6), (96, 96, 3)


@pytest.mark.parametrize(
    ("audio_features", "residual", "parameters", "trainable"),
    [
        ("mfcc", True, 71_370_579, 71_331_987),
        ("mfcc", False, 24_934_739, 24_922_771),
        ("mel", True, 49_573_971, None),
        ("mel", False, 21_482_387, None),
    ],
)
def test_published_sizes_of_the_generator(audio_features, residual, parameters, trainable):
    faces, made = abstract_variables(
        Generator(audio_features=audio_features, residual=residual),
        AUDIO_SHAPES[audio_features],
        FACES,
    )
    assert faces.shape == (2, *FACE)
    assert count_parameters(made) == parameters
    assert trainable in (None, count_parameters(made["params"]))


@pytest.mark.parametrize(
    ("audio_features", "parameters"), [("mfcc", 14_382_742), ("mel", 8_240_022)]
)
def test_published_sizes_of_the_discriminator(audio_features, parameters):
    distance, made = abstract_variables(
        Discriminator(audio_features=audio_features), AUDIO_SHAPES[audio_features], FACE
    )
    assert distance.shape == (2,) and count_parameters(made["params"]) == parameters


def test_published_sizes_within():
    def run(*inputs):
        module = Generator(width_mult=1 / 32)
        return module.init_with_output(
            jax.random.key(0), *inputs, capture_intermediates=True, mutable=True
        )

    _, made = jax.eval_shape(run, jnp.zeros((1, 35, 12)), jnp.zeros((1, *FACES)))
    layers = made["intermediates"]
    found = [layers[f"audio_{i}"]["__call__"][0].shape[1:3] for i in range(4)]
    assert found == [(12, 35), (13, 18), (7, 9), (4, 5)]
    found = [layers[f"face_{i}"]["__call__"][0].shape[1] for i in range(6)]
    assert found == [96, 48, 24, 12, 6, 3]
    found = [layers[f"up_{i}"]["__call__"][0].shape[1] for i in range(6)]
    assert found == [3, 6, 12, 24, 48, 96]


@pytest.mark.parametrize(
    ("kernel", "strides", "side"), [(3, 3, 1), (3, 2, 5), (3, 1, 4), (4, 2, 3)]
)
def test_layers_pad_as_tensorflow_does(kernel, strides, side):
    """JAX's own transposed convolution was found to be exactly Keras's."""
    layer = ConvNormAct(
        4, (kernel,) * 2, strides, "SAME", transposed=True, norm=False, activation=None
    )
    x, weights = random_array(2, side, side, 3), random_array(kernel, kernel, 4, 3, seed=1)
    found = jax.jit(layer.apply, static_argnums=2)({"params": {"kernel": weights}}, x, False)
    expected = jax.jit(
        lambda x, w: lax.conv_transpose(x, w, (strides,) * 2, "SAME", transpose_kernel=True)
    )(x, weights)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.shape == (2, side * strides, side * strides, 4)


def test_norm_is_over_rows_columns_and_channels():
    x = 3 * random_array(2, 4, 5, 6) + 1
    params = {"params": {"scale": np.float32(2), "bias": np.float32(0.5)}}
    found = InstanceNorm().apply(params, x)
    mean, deviation = (f(x, axis=(1, 2, 3), keepdims=True) for f in (np.mean, np.std))
    np.testing.assert_allclose(found, (x - mean) / (deviation + 1e-3) * 2 + 0.5, atol=1e-5)
    flat = jax.grad(lambda x: InstanceNorm().apply(params, x).sum())(jnp.ones((1, 2, 2, 2)))
    assert np.isfinite(flat).all()


@pytest.mark.parametrize("audio_features", AUDIO_SHAPES)
def test_narrow_networks_depend_on_audio_and_faces(audio_features):
    window = AUDIO_SHAPES[audio_features]
    for module, face in (
        (Generator(audio_features=audio_features, width_mult=1 / 64, depth_mult=0.5), FACES),
        (Discriminator(audio_features=audio_features, width_mult=1 / 32), FACE),
    ):
        variables = networks.random_variables(module, window, face)
        run = jit(lambda *x, v=variables, m=module: m.apply(v, *x), optimize=False)
        inputs = [random_array(2, *window), random_array(2, *face)]
        found = np.asarray(run(*inputs))
        assert 0 <= found.min() and found.max() <= (1 if face == FACES else 2)
        for i in range(2):
            changed = [x.copy() for x in inputs]
            changed[i][1] = random_array(*changed[i].shape[1:], seed=1)
            other = np.asarray(run(*changed))
            np.testing.assert_allclose(other[0], found[0], atol=1e-5)
            assert np.abs(other[1] - found[1]).max() > 1e-4


def test_narrow_networks_keep_eight_channels():
    _, made = abstract_variables(Generator(width_mult=1 / 64), AUDIO_SHAPES["mfcc"], FACES)
    kernels = [made["params"][name]["kernel"].shape for name in ("face_0", "output_0", "output")]
    assert [kernel[-1] for kernel in kernels] == [8, 8, 3]


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"audio has shape \(2, 27, 80\); Generator takes"):
        abstract_variables(Generator(), AUDIO_SHAPES["mel"], FACES)
    with pytest.raises(ValueError, match=r"faces has shape \(2, 96, 96, 3\); Generator takes"):
        abstract_variables(Generator(), AUDIO_SHAPES["mfcc"], FACE)
