"""The networks against outputs of the published ones, computed from the same weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax.methods.glance.autoencoder_model import (
    VideoAutoencoder,
    VideoEncoder,
)
from lipsync_jax.methods.glance.model import (
    DerivativeEncoder,
    Discriminator,
    Generator,
    MotionEncoder,
)
from lipsync_jax.nn.cpu.jit import jit
from tests.golden.glance import parity, recipe
from tests.helpers import networks
from tests.helpers.networks import abstract_variables, count_parameters, random_array

REFERENCE, AUDIO, CLIP, FLOW = (64, 64, 3), (64, 128), (16, 64, 64, 3), (15, 16, 16, 2)
slow = pytest.mark.slow


def numbered(name, n):
    return [f"{name}_{i}" for i in range(n)]


def residuals(n):
    return [f"residual_{i}_{j}" for i in range(n) for j in (0, 1)]


def check_modes(network, module, names, inputs, outputs, **options):
    """Compares outputs, given by what the module returns, and statistics after training."""
    golden = recipe.expected(network)
    for mode, found, stats, _ in parity.run(network, module, names, inputs, **options):
        for name, x in outputs(found).items():
            if (mode, name) == ("eval", "video"):
                continue  # a tanh of up to 85, whose float32 rounding is beyond any tolerance
            channels = -1 if name == "feature" and x.ndim == 3 else 1
            recipe.check(golden, f"{mode}/{name}", x, channels=channels)
        if mode == "train" and stats:
            recipe.check_statistics(golden, network, names, stats)


GENERATORS = {
    "pool": ({}, 4, "generator.15"),
    "conv": ({"audio_downsample": "conv"}, 5, "generator.15"),
    "k333": ({"residual_kernel_t": 3, "output_padding_mode": "edge"}, 4, "generator.16"),
}


@slow
@pytest.mark.parametrize("form", GENERATORS)
def test_generates_what_the_published_generator_generates(form):
    fields, audio_layers, head = GENERATORS[form]
    names = [
        *numbered("audio", audio_layers),
        *numbered("image", 3),
        "compress",
        *residuals(9),
        *numbered("up", 2),
        "output",
    ]
    reference, audio = recipe.inputs(f"glance_gen_{form}")

    def outputs(found):
        made = {"video": np.tanh(found.frames), f"tap:{head}": found.frames}
        return made if form == "k333" else {**made, "audio_feature": found.audio_features}

    check_modes(
        f"glance_gen_{form}",
        Generator(**fields),
        names,
        [reference, audio[..., 0]],
        outputs,
        method="logits",
    )


@slow
@pytest.mark.parametrize("streams", [2, 3])
def test_discriminator_equals_the_published_one(streams):
    network = f"glance_disc{streams}"
    frames, *flow, audio = recipe.inputs(network)
    motion = numbered("motion", 4) if flow else []
    names = [*numbered("audio", 4), "audio_dense", *numbered("video", 4), *motion]
    module = Discriminator(motion="flow" if flow else "none")
    check_modes(
        network,
        module,
        [*names, "fusion", "logits"],
        [frames, audio[..., 0], *flow],
        lambda logits: {"tap:net_joint.1.0": logits, "prob": jax.nn.sigmoid(logits)},
        method="logits",
    )


@pytest.mark.parametrize(
    ("network", "derivative"), [("audio_deri_encoder", True), ("audio_encoder_noderi", False)]
)
def test_encodes_audio_as_the_published_network(network, derivative):
    (audio_features,) = recipe.inputs(network)
    check_modes(
        network,
        DerivativeEncoder(derivative=derivative),
        numbered("conv", 4),
        [audio_features],
        lambda found: {"feature": found},
        optimize=False,
    )


@pytest.mark.parametrize(("kind", "layers"), [("flownet", 4), ("farneback", 6), ("embedding", 6)])
def test_encodes_motion_as_the_published_network(kind, layers):
    network = f"flow_encoder_{kind}"
    check_modes(
        network,
        MotionEncoder(),
        numbered("conv", layers),
        recipe.inputs(network),
        lambda found: {"feature": found},
        optimize=False,
    )


AUTOENCODER = [
    *("encoder/stem", "encoder/down_0", "encoder/down_1"),
    *(f"encoder/{name}" for name in residuals(6)),
    *("up_0", "up_1", "output"),
]


@slow
def test_reconstructs_clips_as_the_published_network():
    check_modes(
        "percep3d",
        VideoAutoencoder(temporal_kernels=True),
        AUTOENCODER,
        recipe.inputs("percep3d"),
        lambda found: {"recon": np.tanh(found[0]), "feature": found[1]},
        method="logits",
    )


@slow
def test_reconstructs_frames_as_the_published_network():
    """It ran frame by frame, which batch statistics are then of, and encoded each of them twice."""
    (frames,), golden = recipe.inputs("percep2d"), recipe.expected("percep2d")
    module = VideoAutoencoder()
    variables = recipe.variables("percep2d", module, AUTOENCODER, [frames.shape])

    @functools.partial(jax.jit, static_argnames=("train",))
    def apply(variables, x, train):
        return module.apply(variables, x, train, mutable=["batch_stats"])

    with jax.default_matmul_precision("highest"):
        (reconstructed, codes), _ = apply(variables, frames, False)
        recipe.check(golden, "eval/recon", reconstructed)
        recipe.check(golden, "eval/feature", codes)
        results, stats = [], variables["batch_stats"]
        for moment in range(frames.shape[1]):
            frame = frames[:, moment : moment + 1]
            for encode_again in (False, True):
                found, new = apply({**variables, "batch_stats": stats}, frame, True)
                part = {"encoder": new["batch_stats"]["encoder"]} if encode_again else {}
                stats = {**stats, **part} if encode_again else new["batch_stats"]
            results.append(found)
    reconstructed, codes = (np.concatenate(x, axis=1) for x in zip(*results, strict=True))
    recipe.check(golden, "train/recon", reconstructed)
    recipe.check(golden, "train/feature", codes)
    recipe.check_statistics(golden, "percep2d", AUTOENCODER, stats)


@pytest.mark.parametrize(
    ("fields", "parameters"),
    [
        ({}, 16_104_931),
        ({"audio_downsample": "conv"}, 16_695_267),
        ({"residual_kernel_t": 3}, 37_338_595),
    ],
)
def test_sizes_of_the_generator(fields, parameters):
    found, made = abstract_variables(Generator(**fields), REFERENCE, AUDIO)
    assert found.frames.shape == (2, *CLIP) and found.audio_features.shape == (2, 16, 16, 256)
    assert made["params"]["compress"]["kernel"].shape == (3, 3, 3, 512, 256)
    assert count_parameters(made["params"]) == parameters


@pytest.mark.parametrize(
    ("motion", "parameters"), [("flow", 54_278_881), ("none", 55_593_249), ("difference", None)]
)
def test_sizes_of_the_discriminator(motion, parameters):
    logits, made = abstract_variables(Discriminator(motion=motion), CLIP, AUDIO, FLOW)
    assert logits.shape == (2,)
    if parameters is None:  # the first layer of the stream has three input channels
        parameters = 54_278_881 + 64 * 27
    assert count_parameters(made["params"]) == parameters


def test_sizes_of_the_other_networks():
    found, made = abstract_variables(DerivativeEncoder(), (16, 16, 256))
    assert found.shape == (2, 15, 16) and count_parameters(made["params"]) == 392_400
    for shape, parameters in (
        (FLOW, 11_580),
        ((15, 64, 64, 2), 25_500),
        (CLIP, 25_608),
    ):
        found, made = abstract_variables(MotionEncoder(), shape)
        assert found.shape == (2, shape[0], 16) and count_parameters(made["params"]) == parameters
    for clips, parameters in ((False, 7_841_411), (True, 23_584_643)):
        (found, codes), made = abstract_variables(VideoAutoencoder(temporal_kernels=clips), CLIP)
        assert found.shape == (2, *CLIP) and codes.shape == (2, 16, 16, 16, 256)
        assert count_parameters(made["params"]) == parameters
        _, alone = abstract_variables(VideoEncoder(temporal_kernels=clips), CLIP)
        assert alone["params"] == made["params"]["encoder"]


def test_frequencies_become_rows_and_are_repeated_along_columns():
    reference, audio_features = random_array(1, 16, 16, 2), random_array(1, 3, 16, 4, seed=1)
    fused = Generator._fuse(reference, audio_features)
    assert fused.shape == (1, 3, 16, 16, 6)
    np.testing.assert_array_equal(
        fused[0, 2, 5, 9], [*reference[0, 5, 9], *audio_features[0, 2, 5]]
    )


@pytest.fixture(scope="module")
def narrow():
    """A narrow generator of other lengths than 16 frames, jitted, with its weights."""
    module = Generator(width_mult=1 / 32, residual_blocks=1)
    variables = networks.random_variables(module, REFERENCE, (16, 128))
    return jit(lambda *x: module.apply(variables, *x), optimize=False)


def test_outputs_of_a_narrow_generator_depend_on_reference_and_audio(narrow):
    inputs = [random_array(2, *REFERENCE), random_array(2, 16, 128)]
    found = narrow(*inputs)
    assert found.frames.shape == (2, 4, 64, 64, 3) and np.abs(found.frames).max() <= 1
    for i in range(2):
        changed = [x.copy() for x in inputs]
        changed[i][1] = random_array(*changed[i].shape[1:], seed=1)
        other = narrow(*changed)
        np.testing.assert_allclose(other.frames[0], found.frames[0], atol=1e-5)
        assert np.abs(other.frames[1] - found.frames[1]).max() > 1e-3


@pytest.mark.parametrize("motion", ["flow", "none", "difference"])
def test_logits_of_a_narrow_discriminator_depend_on_each_stream(motion):
    module = Discriminator(width_mult=1 / 64, motion=motion)
    variables = networks.random_variables(module, CLIP, AUDIO, FLOW)
    inputs = [random_array(2, *CLIP), random_array(2, *AUDIO), random_array(2, *FLOW)]
    logits = functools.partial(module.apply, variables, method="logits")
    run = jit(logits, optimize=False)
    found = run(*inputs)
    for i in range(3):
        changed = [x.copy() for x in inputs]
        changed[i][1] = random_array(*changed[i].shape[1:], seed=1)
        other = np.asarray(run(*changed))
        np.testing.assert_allclose(other[0], found[0], atol=1e-5)
        assert (abs(other[1] - found[1]) > 1e-6) == (i < 2 or motion == "flow")


def test_outputs_are_float32():
    found, made = abstract_variables(
        Discriminator(width_mult=1 / 64, dtype=jnp.bfloat16), CLIP, AUDIO, FLOW
    )
    frames, made_too = abstract_variables(
        Generator(width_mult=1 / 64, dtype=jnp.bfloat16), REFERENCE, AUDIO
    )
    leaves = jax.tree.leaves((found, made, frames.frames, made_too))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"reference has shape \(2, 96, 96, 3\); Generator takes"):
        abstract_variables(Generator(), (96, 96, 3), AUDIO)
    with pytest.raises(ValueError, match=r"audio has shape \(2, 64, 80\); Generator takes"):
        abstract_variables(Generator(), REFERENCE, (64, 80))
    with pytest.raises(ValueError, match="audio has 63 rows; a multiple of 4 is required"):
        abstract_variables(Generator(), REFERENCE, (63, 128))
    with pytest.raises(
        ValueError, match=r"motion=.flow. needs flow, shape .2, 15, 16, 16, 2.; got None"
    ):
        abstract_variables(Discriminator(), CLIP, AUDIO)
    with pytest.raises(ValueError, match="sides must be equal powers of two"):
        abstract_variables(MotionEncoder(), (15, 24, 24, 2))
