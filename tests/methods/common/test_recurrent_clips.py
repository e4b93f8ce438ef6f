"""Properties of the networks of both temporal GANs on clips, for any weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax.methods.jain import model as jain
from lipsync_jax.methods.vougioukas import model as vougioukas
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.nn.dcgan import REFERENCE_CACHE as CACHE
from tests.helpers import networks
from tests.helpers.networks import random_array

GENERATOR = {"audio_size": 6, "context_size": 8, "identity_size": 5, "width_mult": 1 / 16}
DISCRIMINATOR = {"hidden_size": 8, "frame_size": 6, "width_mult": 1 / 16}
REFERENCE, CLIP, NOISE = (32, 32, 3), (6, 32, 32, 3), (6, 10)
GENERATORS = {
    "vougioukas": (
        vougioukas.Generator(
            audio_samples=320, audio_encoder_channels=2, image_size=(32, 32), **GENERATOR
        ),
        (REFERENCE, (6, 320), NOISE),
    ),
    "jain": (
        jain.Generator(audio_width_mult=1 / 16, image_size=(32, 32), **GENERATOR),
        (REFERENCE, (6, 35, 12), NOISE),
    ),
}
DISCRIMINATORS = {
    "sequence": (
        vougioukas.SequenceDiscriminator(
            audio_samples=320, audio_encoder_channels=2, **DISCRIMINATOR
        ),
        (CLIP, (6, 320)),
    ),
    "motion": (vougioukas.MotionDiscriminator(**DISCRIMINATOR), (CLIP,)),
    "jain_sequence": (
        jain.SequenceDiscriminator(audio_size=6, audio_width_mult=1 / 16, **DISCRIMINATOR),
        (CLIP, (6, 35, 12)),
    ),
}
MASK = np.array([[True] * 6, [True] * 3 + [False] * 3])


def once(function, **options):
    return jit(functools.partial(function, **options), optimize=False)


def make_method_and_batch(module, inputs):
    """Two clips of six frames, and variables."""
    return networks.random_variables(module, *inputs), [
        random_array(2, *shape, seed=i) for i, shape in enumerate(inputs)
    ]


def assert_close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), found, expected)


@pytest.mark.parametrize("name", GENERATORS)
def test_chunks_are_the_whole_clip_and_every_input_moves_it(name):
    module, inputs = GENERATORS[name]
    variables, (reference, audio, noise) = make_method_and_batch(module, inputs)
    encode = once(module.apply, method="encode_reference")
    generate = once(module.apply, method="generate")
    encoded = encode(variables, reference)
    carry, whole = generate(variables, encoded, audio, noise, module.initial_carry(2))
    assert whole.shape == (2, *CLIP) and np.abs(whole).max() <= 1

    middle, begun = generate(
        variables, encoded, audio[:, :3], noise[:, :3], module.initial_carry(2)
    )
    end, rest = generate(variables, encoded, audio[:, 3:], noise[:, 3:], middle)
    assert_close(np.concatenate([begun, rest], axis=1), whole)
    assert_close(end, carry)
    _, forgot = generate(variables, encoded, audio[:, 3:], noise[:, 3:], module.initial_carry(2))
    assert np.abs(forgot - whole[:, 3:]).max() > 1e-3

    turned = encode(variables, reference[::-1])
    later = np.arange(6)[:, None] < 3
    for changed, moves in (
        ((turned, audio, noise), np.ones(6, bool)),
        ((encoded, np.where(later, audio.T, -audio.T).T, noise), ~later[:, 0]),
        ((encoded, audio, np.where(later, noise, -noise)), ~later[:, 0]),
    ):
        _, frames = generate(variables, *changed, module.initial_carry(2))
        difference = np.abs(frames - whole).max(axis=(0, 2, 3, 4))
        np.testing.assert_array_equal(difference > 1e-3, moves)


@pytest.mark.parametrize("name", GENERATORS)
def test_outputs_of_the_reference_alone_can_be_cached(name):
    module, inputs = GENERATORS[name]
    variables, (reference, audio, noise) = make_method_and_batch(module, inputs)
    assert CACHE not in variables
    whole = once(module.apply)(variables, reference, audio, noise)
    _, cached = once(module.apply, mutable=[CACHE])(
        variables, reference, audio[:, :1], noise[:, :1]
    )
    assert len(cached[CACHE]["decoder"]) == 4
    apply = once(module.apply)
    assert_close(apply({**variables, **cached}, reference, audio, noise), whole)
    _, frames = apply({**variables, **jax.tree.map(np.zeros_like, cached)}, reference, audio, noise)
    assert np.abs(frames - whole[1]).max() > 1e-3


@pytest.mark.parametrize("name", [*GENERATORS, *DISCRIMINATORS])
def test_padding_does_not_count(name):
    """Neither in the outputs nor in the batch statistics."""
    module, inputs = {**GENERATORS, **DISCRIMINATORS}[name]
    variables, given = make_method_and_batch(module, inputs)
    apply = once(module.apply, train=True, mutable=["batch_stats"])

    def run(padding):
        clip = [
            np.where(MASK.reshape(2, 6, *[1] * (x.ndim - 2)), x, padding) if x.shape[1] == 6 else x
            for x in given
        ]
        carry = (module.initial_carry(2),) if name in GENERATORS else ()
        return apply(variables, *clip, *carry, MASK)

    (found, statistics), (expected, others) = run(0.5), run(-30.0)
    if name in GENERATORS:
        found, expected = ((carry, frames[MASK]) for carry, frames in (found, expected))
    assert_close(found, expected)
    assert_close(statistics, others)


def test_logits_of_a_padded_clip_are_those_of_the_clip_without_padding():
    module, inputs = DISCRIMINATORS["sequence"]
    variables, clip = make_method_and_batch(module, inputs)
    logits = once(module.apply)
    mask = np.array([[True] * 3 + [False] * 3] * 2)
    found = logits(variables, *clip, mask)
    assert_close(found, logits(variables, *(x[:, :3] for x in clip)))
    assert np.abs(found - logits(variables, *clip, np.ones_like(mask))).max() > 1e-3


@pytest.mark.parametrize("name", [*GENERATORS, *DISCRIMINATORS])
def test_ends_in_float32(name):
    module, inputs = {**GENERATORS, **DISCRIMINATORS}[name]
    found = networks.abstract_variables(module.clone(dtype=jnp.bfloat16), *inputs)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float32")}
