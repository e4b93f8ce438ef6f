"""The networks against outputs of the published ones, computed from the same weights."""

import jax
import numpy as np
import pytest

from lipsync_jax.methods.vgan.model import (
    AudioConditionedDiscriminator,
    AudioConditionedGenerator,
    compose,
)
from tests.golden.glance import parity, recipe
from tests.helpers import networks
from tests.helpers.networks import abstract_variables, count_parameters, random_array

NOISE, AUDIO, REFERENCE, CLIP = (100,), (64, 128), (64, 64, 3), (16, 64, 64, 3)
slow = pytest.mark.slow


def numbered(name, n):
    return [f"{name}_{i}" for i in range(n)]


AUDIO_CONDITIONED = [
    *numbered("audio", 4),
    "audio_dense",
    "background_start",
    *numbered("background", 4),
    "background_output",
    "foreground_start",
    *numbered("foreground", 3),
    *("mask_head", "mask_output", "foreground_head", "foreground_output"),
]


def check_layers(network, module, names, inputs, **options):
    golden = recipe.expected(network)
    for run in parity.run(network, module, names, inputs, **options):
        found, rounding = run.outputs, run.rounding
        recipe.check(golden, f"{run.mode}/video", found.frames, rounding.frames)
        check_taps(golden, run)
        if run.mode == "train":
            recipe.check_statistics(golden, network, names, run.statistics)


def check_taps(golden, run):
    """Compares the three parts of a video, of which the golden arrays are the logits."""
    for tap, name, squash in (
        ("mask_net.1.0", "mask", lambda x: 1 / (1 + np.exp(-x))),
        ("gen_net.1.0", "foreground", np.tanh),
        ("static_net.5.0", "background", np.tanh),
    ):
        x, rounding = getattr(run.outputs, name), getattr(run.rounding, name)
        recipe.check(golden, f"{run.mode}/tap:{tap}", x, rounding, values=squash)


@slow
def test_generates_what_the_published_conditioned_generator_generates():
    _, noise, audio = recipe.inputs("glance_vgan_gen")
    inputs = [noise, audio[..., 0]]
    check_layers(
        "glance_vgan_gen", AudioConditionedGenerator(), AUDIO_CONDITIONED, inputs, double_train=True
    )


@slow
def test_streams_of_the_published_conditioned_generator():
    """Float32 suffices after the only layer that normalises over two values."""
    network = "glance_vgan_gen"
    golden, (_, noise, audio) = recipe.expected(network), recipe.inputs(network)
    inputs, fixed = [noise, audio[..., 0]], {"audio_dense": "tap:audio_fc"}
    for run in parity.run(
        network, AudioConditionedGenerator(), AUDIO_CONDITIONED, inputs, fixed=fixed
    ):
        recipe.check(golden, f"{run.mode}/video", run.outputs.frames)
        check_taps(golden, run)


@slow
def test_discriminator_equals_the_published_one():
    network, module = "glance_vgan_disc", AudioConditionedDiscriminator()
    frames, audio = recipe.inputs(network)
    names = [*numbered("audio", 4), "audio_dense", *numbered("video", 4), "logits"]
    golden = recipe.expected(network)
    for mode, logits, stats, _ in parity.run(network, module, names, [frames, audio[..., 0]]):
        recipe.check(golden, f"{mode}/tap:net_joint.0.0", logits)
        recipe.check(golden, f"{mode}/prob", jax.nn.sigmoid(logits))
        if mode == "train":
            recipe.check_statistics(golden, network, names, stats)


def test_sizes_of_both_networks():
    found, made = abstract_variables(AudioConditionedGenerator(), NOISE, AUDIO)
    assert found.frames.shape == found.foreground.shape == (2, 16, 64, 64, 3)
    assert found.mask.shape == (2, 16, 64, 64, 1) and found.background.shape == (2, 64, 64, 3)
    assert count_parameters(made["params"]) == 35_938_343
    logits, made = abstract_variables(AudioConditionedDiscriminator(), CLIP, AUDIO)
    assert logits.shape == (2,) and count_parameters(made["params"]) == 40_797_537


def test_the_reference_is_an_input_on_request():
    _, plain = abstract_variables(AudioConditionedGenerator(), NOISE, AUDIO)
    _, made = abstract_variables(
        AudioConditionedGenerator(condition_on_image=True), NOISE, AUDIO, REFERENCE
    )
    added = set(made["params"]) - set(plain["params"])
    assert added == {*numbered("image", 4), "image_dense"}
    assert made["params"]["background_start"]["kernel"].shape[-1] == 612
    assert made["params"]["background_0"]["kernel"].shape[-1] == 1024
    with pytest.raises(ValueError, match="condition_on_image=True needs reference"):
        abstract_variables(AudioConditionedGenerator(condition_on_image=True), NOISE, AUDIO)


def test_the_mask_is_the_opacity_of_the_foreground():
    mask, front, back = (
        random_array(1, 2, 4, 4, 1),
        random_array(1, 2, 4, 4, 3),
        random_array(1, 4, 4, 3),
    )
    mask[:, 0], mask[:, 1] = 100, -100
    found = compose(mask, front, back)
    np.testing.assert_allclose(found.frames[:, 0], np.tanh(front[:, 0]), atol=1e-6)
    np.testing.assert_allclose(found.frames[:, 1], np.tanh(back), atol=1e-6)


def test_outputs_of_a_narrow_generator_depend_on_all_inputs():
    module = AudioConditionedGenerator(width_mult=1 / 64, condition_on_image=True)
    variables = networks.random_variables(module, NOISE, AUDIO, REFERENCE)
    inputs = [random_array(2, *shape) for shape in (NOISE, AUDIO, REFERENCE)]
    apply = jax.jit(lambda *x: module.apply(variables, *x).frames)
    frames = apply(*inputs)
    assert np.abs(frames).max() <= 1
    for i in range(3):
        changed = [x.copy() for x in inputs]
        changed[i][1] = random_array(*changed[i].shape[1:], seed=1)
        other = apply(*changed)
        np.testing.assert_allclose(other[0], frames[0], atol=1e-5)
        assert np.abs(other[1] - frames[1]).max() > 1e-3


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"noise has shape \(2, 99\); AudioConditionedGenerator"):
        abstract_variables(AudioConditionedGenerator(), (99,), AUDIO)
    with pytest.raises(ValueError, match=r"frames has shape .*; AudioConditionedDiscriminator"):
        abstract_variables(AudioConditionedDiscriminator(), (32, 64, 64, 3), AUDIO)
