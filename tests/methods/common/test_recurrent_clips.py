"""What the networks of both temporal GANs must do with clips, whatever their weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax.methods.jain import model as jain
from lipsync_jax.methods.vougioukas import model as temporal_gan
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.nn.dcgan import STILL as KEPT
from tests.helpers import networks
from tests.helpers.networks import drawn

GENERATOR = {"audio_size": 6, "context_size": 8, "identity_size": 5, "width": 1 / 16}
CRITIC = {"hidden_size": 8, "frame_size": 6, "width": 1 / 16}
STILL, CLIP, NOISE = (32, 32, 3), (6, 32, 32, 3), (6, 10)
GENERATORS = {
    "temporal_gan": (
        temporal_gan.Generator(
            audio_samples=320, audio_features=2, image_size=(32, 32), **GENERATOR
        ),
        (STILL, (6, 320), NOISE),
    ),
    "jain": (
        jain.Generator(audio_width=1 / 16, image_size=(32, 32), **GENERATOR),
        (STILL, (6, 35, 12), NOISE),
    ),
}
JUDGES = {
    "sequence": (
        temporal_gan.SequenceDiscriminator(audio_samples=320, audio_features=2, **CRITIC),
        (CLIP, (6, 320)),
    ),
    "motion": (temporal_gan.MotionDiscriminator(**CRITIC), (CLIP,)),
    "jain_sequence": (
        jain.SequenceDiscriminator(audio_size=6, audio_width=1 / 16, **CRITIC),
        (CLIP, (6, 35, 12)),
    ),
}
MASK = np.array([[True] * 6, [True] * 3 + [False] * 3])


def once(function, **options):
    return jit(functools.partial(function, **options), once=True)


def made(module, inputs):
    """Two clips of six frames, and variables."""
    return networks.variables(module, *inputs), [
        drawn(2, *shape, seed=i) for i, shape in enumerate(inputs)
    ]


def assert_close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), found, expected)


@pytest.mark.parametrize("name", GENERATORS)
def test_chunks_are_the_whole_clip_and_every_input_moves_it(name):
    module, inputs = GENERATORS[name]
    variables, (still, audio, noise) = made(module, inputs)
    encode = once(module.apply, method="encode_still")
    animate = once(module.apply, method="animate")
    encoded = encode(variables, still)
    carry, whole = animate(variables, encoded, audio, noise, module.start(2))
    assert whole.shape == (2, *CLIP) and np.abs(whole).max() <= 1

    middle, begun = animate(variables, encoded, audio[:, :3], noise[:, :3], module.start(2))
    end, rest = animate(variables, encoded, audio[:, 3:], noise[:, 3:], middle)
    assert_close(np.concatenate([begun, rest], axis=1), whole)
    assert_close(end, carry)
    _, forgot = animate(variables, encoded, audio[:, 3:], noise[:, 3:], module.start(2))
    assert np.abs(forgot - whole[:, 3:]).max() > 1e-3

    turned = encode(variables, still[::-1])
    later = np.arange(6)[:, None] < 3
    for changed, moves in (
        ((turned, audio, noise), np.ones(6, bool)),
        ((encoded, np.where(later, audio.T, -audio.T).T, noise), ~later[:, 0]),
        ((encoded, audio, np.where(later, noise, -noise)), ~later[:, 0]),
    ):
        _, frames = animate(variables, *changed, module.start(2))
        difference = np.abs(frames - whole).max(axis=(0, 2, 3, 4))
        np.testing.assert_array_equal(difference > 1e-3, moves)


@pytest.mark.parametrize("name", GENERATORS)
def test_what_layers_make_of_the_still_alone_can_be_kept(name):
    module, inputs = GENERATORS[name]
    variables, (still, audio, noise) = made(module, inputs)
    assert KEPT not in variables
    whole = once(module.apply)(variables, still, audio, noise)
    _, kept = once(module.apply, mutable=[KEPT])(variables, still, audio[:, :1], noise[:, :1])
    assert len(kept[KEPT]["decoder"]) == 4
    apply = once(module.apply)
    assert_close(apply({**variables, **kept}, still, audio, noise), whole)
    _, frames = apply({**variables, **jax.tree.map(np.zeros_like, kept)}, still, audio, noise)
    assert np.abs(frames - whole[1]).max() > 1e-3


@pytest.mark.parametrize("name", [*GENERATORS, *JUDGES])
def test_padding_does_not_count(name):
    """Neither in what comes out nor in the batch statistics."""
    module, inputs = {**GENERATORS, **JUDGES}[name]
    variables, given = made(module, inputs)
    apply = once(module.apply, train=True, mutable=["batch_stats"])

    def run(padding):
        clip = [
            np.where(MASK.reshape(2, 6, *[1] * (x.ndim - 2)), x, padding) if x.shape[1] == 6 else x
            for x in given
        ]
        carry = (module.start(2),) if name in GENERATORS else ()
        return apply(variables, *clip, *carry, MASK)

    (found, statistics), (expected, others) = run(0.5), run(-30.0)
    if name in GENERATORS:
        found, expected = ((carry, frames[MASK]) for carry, frames in (found, expected))
    assert_close(found, expected)
    assert_close(statistics, others)


def test_a_padded_clip_is_judged_as_the_clip_without_its_padding():
    module, inputs = JUDGES["sequence"]
    variables, clip = made(module, inputs)
    judge = once(module.apply)
    mask = np.array([[True] * 3 + [False] * 3] * 2)
    found = judge(variables, *clip, mask)
    assert_close(found, judge(variables, *(x[:, :3] for x in clip)))
    assert np.abs(found - judge(variables, *clip, np.ones_like(mask))).max() > 1e-3


@pytest.mark.parametrize("name", [*GENERATORS, *JUDGES])
def test_ends_in_float32(name):
    module, inputs = {**GENERATORS, **JUDGES}[name]
    found = networks.shapes(module.clone(dtype=jnp.bfloat16), *inputs)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float32")}
