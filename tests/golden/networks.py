"""Networks with golden outputs as functions, in any precision and for any device."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lipsync_jax.data.audio_windows import waveform_windows
from lipsync_jax.methods.vougioukas import torch_weights as vougioukas_weights
from lipsync_jax.methods.vougioukas.model import Generator
from lipsync_jax.methods.wav2lip.model import QualityDiscriminator, SyncExpert, Wav2Lip
from lipsync_jax.methods.wav2lip.torch_weights import to_variables
from tests.golden import recipe
from tests.golden.tgan import recipe as tgan_recipe

# Largest absolute errors. `float32` is what a device makes of float32 by default: on a TPU products
# of bfloat16 (7 bits of mantissa), on a GPU of TF32 (10 bits).
_EXACT = {"wav2lip": 1e-4, "sync_expert": 2e-5, "quality_discriminator": 2e-5, "tgan": 2e-4}
_ROUNDED = {"wav2lip": 4e-2, "sync_expert": 6e-3, "quality_discriminator": 5e-3, "tgan": 4e-2}
TOLERANCES = {"highest": _EXACT, "float32": _ROUNDED, "bfloat16": _ROUNDED}


class Golden(NamedTuple):
    """A network with its weights and inputs, and the outputs of the published network.

    Attributes:
        function: of `inputs`.
        inputs: variables, then what the network takes.
        expected: what `function` returns.
        tolerance: largest absolute error.
    """

    function: Callable[..., jax.Array]
    inputs: tuple
    expected: np.ndarray
    tolerance: float


def load(network: str, precision: str) -> Golden:
    """Returns one of NETWORKS; `precision` is a key of TOLERANCES."""
    dtype = jnp.bfloat16 if precision == "bfloat16" else None
    return Golden(*NETWORKS[network](dtype), TOLERANCES[precision][network])


def _wav2lip(dtype: type | None) -> tuple:
    given = recipe.inputs("wav2lip")
    inputs = _channels_last(given["audio4"]), _channels_last(given["face4"])
    expected = _channels_last(recipe.expected("wav2lip")["out4"])
    weights = to_variables(recipe.weights("wav2lip"), "wav2lip")
    return Wav2Lip(dtype=dtype).apply, (weights, *inputs), expected


def _sync_expert(dtype: type | None) -> tuple:
    given, expected = recipe.inputs("syncnet_color"), recipe.expected("syncnet_color")
    inputs = _channels_last(given["mel"]), _channels_last(given["face"])
    weights = to_variables(recipe.weights("syncnet_color"), "sync_expert")

    def embed(*inputs: jax.Array) -> jax.Array:
        return jnp.stack(SyncExpert(dtype=dtype).apply(*inputs))

    return embed, (weights, *inputs), np.stack([expected["audio_emb"], expected["face_emb"]])


def _quality_discriminator(dtype: type | None) -> tuple:
    faces = recipe.inputs("wav2lip_disc_qual")["faces"]
    frames = faces.transpose(2, 0, 3, 4, 1).reshape(-1, 96, 96, 3)
    weights = to_variables(recipe.weights("wav2lip_disc_qual"), "quality_discriminator")
    expected = recipe.expected("wav2lip_disc_qual")["pred"]
    return QualityDiscriminator(dtype=dtype).apply, (weights, frames), expected


def _tgan(dtype: type | None) -> tuple:
    preset = "grid"
    hyper, given = tgan_recipe.manifest(preset)["hyper"], tgan_recipe.inputs(preset)
    samples = hyper["audio_feat_samples"]
    generator = Generator(
        audio_rate=hyper["audio_rate"],
        audio_samples=samples,
        audio_size=hyper["aud_enc_dim"],
        context_size=hyper["rnn_gen_dim"],
        identity_size=hyper["id_enc_dim"],
        dtype=dtype,
    )
    states = {part: tgan_recipe.weights(preset, part) for part in tgan_recipe.PARTS}
    weights = vougioukas_weights.to_variables(vougioukas_weights.tensors(states), generator)
    audio = waveform_windows(given["speech"], samples, tgan_recipe.stride(preset))
    inputs = np.moveaxis(given["image"], 1, -1), audio[None], given["noise"]

    def frame(*inputs: jax.Array) -> jax.Array:
        return generator.apply(*inputs)[1][0, 0]

    expected = np.moveaxis(tgan_recipe.expected(f"{preset}_public")["frame0"], 0, -1)
    return frame, (weights, *inputs), expected


NETWORKS: dict[str, Callable[[type | None], tuple]] = {
    "wav2lip": _wav2lip,
    "sync_expert": _sync_expert,
    "quality_discriminator": _quality_discriminator,
    "tgan": _tgan,
}


def _channels_last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1)
