"""The networks against outputs of the official ones, computed from the same weights."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax.data.audio_windows import waveform_windows
from lipsync_jax.methods.vougioukas import torch_weights as official
from lipsync_jax.methods.vougioukas.model import (
    FrameDiscriminator,
    Generator,
    MotionDiscriminator,
    SequenceDiscriminator,
    SyncDiscriminator,
)
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.nn.waveform_encoder import WaveformEncoder, waveform_encoder_layout
from tests.golden.tgan import recipe
from tests.helpers import networks
from tests.helpers.networks import abstract_variables, count_parameters, random_array

PRESETS = ("paper2018", "grid", "timit", "crema", "tiny")
once = functools.partial(jit, optimize=False)


def generator(preset):
    hyper = recipe.manifest(preset)["hyper"]
    return Generator(
        audio_rate=hyper["audio_rate"],
        audio_samples=hyper["audio_feat_samples"],
        audio_size=hyper["aud_enc_dim"],
        context_size=hyper["rnn_gen_dim"],
        identity_size=hyper["id_enc_dim"],
        width_mult=3 / 64 if preset == "tiny" else 1.0,
    )


def variables(preset, *parts):
    """The golden weights of some parts, checked by their sums."""
    states = {part: recipe.weights(preset, part) for part in parts}
    meta = json.loads(str(recipe.expected(f"{preset}_public")["meta_json"]))
    for part, state in states.items():
        found = sum(value.sum(dtype=float) for value in state.values())
        assert found == pytest.approx(meta["weight_sum_and_sumsq"][part][0], rel=1e-12)
    tensors = official.tensors({part: states.get(part, {}) for part in recipe.PARTS})
    return official.to_variables(tensors, generator(preset))


def windows(preset, name="speech"):
    hyper = recipe.manifest(preset)["hyper"]
    speech = recipe.inputs(preset)[name]
    return waveform_windows(speech, hyper["audio_feat_samples"], recipe.stride(preset))


@pytest.mark.parametrize("preset", PRESETS)
def test_encodes_audio_as_the_official_encoder(preset):
    expected, module = recipe.expected(f"{preset}_public"), generator(preset)
    audio, other, mask = windows(preset), windows(preset, "speech2"), np.ones((2, 6), bool)
    np.testing.assert_allclose(audio.std(axis=1), expected["win_std"], rtol=1e-6)
    # The second clip of the padded batch is four frames long.
    other = waveform_windows(
        recipe.inputs(preset)["speech2"][: 4 * recipe.stride(preset)],
        audio.shape[1],
        recipe.stride(preset),
        range(6),
    )
    other[4:], mask[1, 4:] = 0, False
    first = waveform_windows(
        recipe.inputs(preset)["speech"][:-37], audio.shape[1], recipe.stride(preset)
    )
    encode_audio = once(functools.partial(module.apply, method="encode_audio"))
    with jax.default_matmul_precision("highest"):
        batch, mask = np.stack([first, other, audio]), np.concatenate([mask, mask[:1]])
        _, codes = encode_audio(variables(preset, "encoder"), batch, None, mask)
    np.testing.assert_allclose(codes[:2], expected["z_packed"], atol=2e-5)
    np.testing.assert_allclose(codes[2:], expected["z"], atol=2e-5)


def generate(preset):
    """Frames in the official layout, and the outputs of all layers on the way."""
    given = recipe.inputs(preset)
    apply = functools.partial(
        generator(preset).apply, capture_intermediates=True, mutable="intermediates"
    )
    with jax.default_matmul_precision("highest"):
        # Full networks run for longer than they take to optimise.
        (_, frames), layers = (once if preset == "tiny" else jit)(apply)(
            variables(preset, *recipe.PARTS),
            np.moveaxis(given["image"], 1, -1),
            windows(preset)[None],
            given["noise"],
        )
    return np.moveaxis(np.asarray(frames[0]), -1, 1), layers["intermediates"]


def stages(layers):
    """The official stages' names -> our outputs, channels first."""
    audio = layers["audio_encoder"]
    yield from (
        (f"encoder.encoder.{i}", audio[f"conv_{i}"]["__call__"][0])
        for i in range(sum(name.startswith("conv_") for name in audio))
    )
    code, maps = layers["identity_encoder"]["__call__"][0]
    yield from ((f"encoder_id.cl.{i}", x) for i, x in enumerate((*maps, code[:, None, None])))
    yield "generator.noise_tanh", np.tanh(layers["noise"]["__call__"][0][1]).swapaxes(1, 2)
    generated = {
        name: x["__call__"][0] for name, x in layers["decoder"].items() if "_call" not in name
    }
    yield "generator.dcl.0", generated["start"]
    for i in range(1, 5):
        yield f"generator.dcl.{i}.activation1", generated[f"fuse_{5 - i}"]
        yield f"generator.dcl.{i}.activation2", generated[f"up_{5 - i}"]
    yield "generator.dcl.5", np.arctanh(generated["output"])  # the official one is taken before


@pytest.mark.parametrize(
    "preset",
    ["tiny", *(pytest.param(name, marks=pytest.mark.slow) for name in ("paper2018", "grid"))],
)
def test_generates_what_the_official_generator_generates(preset):
    expected = recipe.expected(f"{preset}_public")
    frames, layers = generate(preset)
    np.testing.assert_allclose(frames[0], expected["frame0"], atol=5e-5)
    np.testing.assert_allclose(frames[:, :, ::4, ::4], expected["video_s4"], atol=5e-5)
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), expected["video_mean"], atol=1e-5)
    np.testing.assert_allclose(frames.std(axis=(1, 2, 3)), expected["video_std"], atol=1e-5)
    found = dict(stages(layers))
    assert set(found) == set(expected["stage_names"])
    for name, mean, std, first in zip(
        *(expected[f"stage_{key}"] for key in ("names", "mean", "std", "first8")), strict=True
    ):
        stage = np.moveaxis(np.asarray(found[name]), -1, 1)
        np.testing.assert_allclose(stage.ravel()[:8], first, atol=5e-5, err_msg=name)
        np.testing.assert_allclose([stage.mean(), stage.std()], [mean, std], atol=1e-5)
    np.testing.assert_allclose(found["encoder_id.cl.5"][:, 0, 0], expected["z_id"], atol=2e-5)
    noise = found["generator.noise_tanh"].swapaxes(1, 2)
    np.testing.assert_allclose(noise, expected["noise_out"], atol=2e-5)
    for name, stage in (("dcl0_c64", "dcl.0"), ("dcl1_c32", "dcl.1.activation2")):
        part = np.moveaxis(found[f"generator.{stage}"], -1, 1)[:, : expected[name].shape[1]]
        np.testing.assert_allclose(part, expected[name], atol=5e-5)


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [
        ("paper2018", 54_016_260),
        ("grid", 55_276_292),
        ("timit", 55_276_132),
        ("crema", 55_273_572),
    ],
)
def test_published_sizes(preset, parameters):
    module = generator(preset)
    (_, frames), made = abstract_variables(module, (128, 96, 3), (7, module.audio_samples), (7, 10))
    assert frames.shape == (2, 7, 128, 96, 3)
    assert count_parameters(made["params"]) == parameters


def test_sizes_of_the_discriminators():
    clip, audio = (7, 128, 96, 3), (7, 2560)
    logits, made = abstract_variables(FrameDiscriminator(), clip[1:], clip[1:])
    assert logits.shape == (2,) and count_parameters(made["params"]) == 11_163_393
    logits, made = abstract_variables(SequenceDiscriminator(), clip, audio)
    assert logits.shape == (2,)
    assert count_parameters(made["params"]["image_encoder"]) == 3_575_296
    assert count_parameters(made["params"]["context"]) == 887_808
    logits, made = abstract_variables(SyncDiscriminator(), (5, 64, 96, 3), (3200,))
    assert logits.shape == (2,)
    convolutions = [made["params"][f"conv_{i}"] for i in range(5)]
    assert count_parameters(convolutions) == 5_915_840
    assert count_parameters(made["params"]["logits"]) == 257
    logits, made = abstract_variables(MotionDiscriminator(), clip)
    assert logits.shape == (2,)
    assert made["params"]["image_encoder"]["conv_0"]["kernel"].shape == (4, 4, 9, 32)


@pytest.mark.parametrize(
    ("rate", "samples", "first", "lengths", "last_padding"),
    [
        (50_000, 8000, (16, 250, 50, 100), [160, 80, 40, 20, 10, 5], 1),
        (48_000, 7680, (16, 240, 48, 96), [160, 80, 40, 20, 10, 5], 1),
        (50_000, 10_000, (16, 250, 50, 100), [200, 100, 50, 25, 5], 3),
        (16_000, 3200, (16, 80, 16, 32), [200, 100, 50, 25, 5], 3),
    ],
)
def test_rule_of_the_audio_encoder(rate, samples, first, lengths, last_padding):
    rows = waveform_encoder_layout(samples, rate)
    assert rows[0] == first and rows[-1][-1] == last_padding
    assert [features for features, *_ in rows] == [16 << i for i in range(len(rows))]
    found = [samples]
    for _, kernel, stride, padding in rows:
        found.append((found[-1] + 2 * padding - kernel) // stride + 1)
    assert found[1:] == lengths
    _, made = abstract_variables(WaveformEncoder(256, rate, samples), (samples,), train=False)
    last = made["params"][f"conv_{len(rows)}"]["kernel"]
    assert last.shape == (5, rows[-1][0], 256)


def test_refuses_inputs_of_other_shapes():
    with pytest.raises(ValueError, match="audio_rate=44100: choose a multiple of 1000"):
        waveform_encoder_layout(8820, 44_100)
    with pytest.raises(ValueError, match="at most 1 ms"):
        waveform_encoder_layout(16, 16_000)
    with pytest.raises(ValueError, match=r"audio has shape \(14, 640\); WaveformEncoder takes"):
        abstract_variables(Generator(), (128, 96, 3), (7, 640), (7, 10))
    with pytest.raises(ValueError, match=r"noise has shape \(2, 6, 10\); Generator takes"):
        abstract_variables(Generator(), (128, 96, 3), (7, 2560), (6, 10))
    with pytest.raises(ValueError, match=r"image has shape \(2, 96, 128, 3\); IdentityEncoder"):
        abstract_variables(Generator(), (96, 128, 3), (7, 2560), (7, 10))
    with pytest.raises(ValueError, match=r"image_size=100x96 .*multiples of 32"):
        abstract_variables(Generator(image_size=(100, 96)), (100, 96, 3), (7, 2560), (7, 10))
    with pytest.raises(ValueError, match=r"frames has shape \(2, 4, 64, 96, 3\)"):
        abstract_variables(SyncDiscriminator(), (4, 64, 96, 3), (3200,))


def test_first_layer_of_motion_is_a_convolution_over_time():
    module = MotionDiscriminator(width_mult=1 / 16, hidden_size=8, frame_size=6)
    x = random_array(2, 5, 32, 32, 3)
    start = networks.random_variables(module, x.shape[1:])
    apply = functools.partial(module.apply, capture_intermediates=True, mutable="intermediates")
    _, layers = once(apply)(start, x)
    found = layers["intermediates"]["image_encoder"]["conv_0"]["norm"]["__call__"][0]
    params, stats = (start[kind]["image_encoder"]["conv_0"] for kind in ("params", "batch_stats"))
    kernel = params["kernel"].reshape(4, 4, 3, 3, -1).transpose(2, 0, 1, 3, 4)
    expected = jax.lax.conv_general_dilated(
        x, kernel, (1, 2, 2), [(1, 1)] * 3, dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
    )
    expected = (expected.reshape(found.shape) - stats["norm"]["mean"]) * params["norm"]["scale"]
    expected = expected / np.sqrt(stats["norm"]["var"] + 1e-5) + params["norm"]["bias"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("network", [FrameDiscriminator, SyncDiscriminator])
def test_logits_are_float32(network):
    module = network(width_mult=1 / 16, dtype=jnp.bfloat16)
    inputs = ((32, 32, 3),) * 2 if network is FrameDiscriminator else ((5, 16, 32, 3), (3200,))
    out, made = abstract_variables(module, *inputs)
    assert {leaf.dtype for leaf in jax.tree.leaves((out, made))} == {jnp.dtype("float32")}
