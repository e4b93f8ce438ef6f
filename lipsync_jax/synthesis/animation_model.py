"""Trained networks of any method that animate an image, loaded and compiled."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import cast

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax import faces, methods
from lipsync_jax.data.audio_features import MFCC
from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.faces import alignment
from lipsync_jax.methods.common import lip_video_gan
from lipsync_jax.methods.common.recurrent_generator import RecurrentGenerator
from lipsync_jax.methods.glance.model import FRAMES, SIZE
from lipsync_jax.methods.jain import method as jain
from lipsync_jax.methods.speech2vid import method as speech2vid
from lipsync_jax.methods.vougioukas import method as vougioukas
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.nn.dcgan import REFERENCE_CACHE
from lipsync_jax.provenance import metadata
from lipsync_jax.synthesis.audio_frontends import (
    AudioFrontend,
    LogMelFrontend,
    MFCCFrontend,
    SpectrogramFrontend,
    StreamingAudio,
    WaveformFrontend,
)
from lipsync_jax.training import checkpoints
from lipsync_jax.types import ModelCard, Tree, Variables

# (check of the networks' shapes, see `checkpoints.load_networks`; their names) -> their variables.
ReadNetworks = Callable[..., dict[str, Tree]]
NOISE_STD = 0.33  # of the published inference; where a checkpoint has no value


@dataclasses.dataclass(frozen=True)
class AnimationModel:
    """A network that animates a reference image, some frames at a time.

    Attributes:
        size: height and width of the frames.
        frame_rate: frames a second, exact.
        audio_frontend: computes the audio features.
        noise_size: noise values a frame; 0 for a network without noise.
        noise_std: standard deviation of the noise, unless the user gives another.
        align: a face -> the matrix from its image to the network's crop, see
            `alignment.align_matrix`.
        encode_image: uint8 (*size, 3) RGB -> the encoded image that `step` takes.
        initial_state: () -> the state before the first frame.
        step: (encoded image, audio features float32 (n, ...), noise float32 (n, noise_size), state)
            -> the state after these frames; the frames, uint8 (n, *size, 3) RGB, a device array
            that may not be ready.
        model_hash: identifies the weights, see `metadata.model_hash`.
        frame_multiple: the number of frames at once is a multiple of this.
    """

    size: tuple[int, int]
    frame_rate: Fraction
    audio_frontend: AudioFrontend
    noise_size: int
    noise_std: float
    align: Callable[[faces.Face], np.ndarray]
    encode_image: Callable[[np.ndarray], Tree]
    initial_state: Callable[[], Tree]
    step: Callable[[Tree, np.ndarray, np.ndarray, Tree], tuple[Tree, Tree]]
    model_hash: str
    frame_multiple: int = 1

    def generate(
        self,
        encoded_image: Tree,
        audio: StreamingAudio,
        batch_size: int,
        seed: int = 0,
        noise_std: float | None = None,
    ) -> Iterator[tuple[range, np.ndarray]]:
        """Generates frames until the audio ends.

        Args:
            encoded_image: the reference image, see `encode_image`.
            audio: driving audio, at the rate of `audio_frontend`.
            batch_size: frames at once, a multiple of `frame_multiple`.
            seed: of the noise.
            noise_std: standard deviation of the noise; None takes `self.noise_std`.

        Yields:
            Indices of frames; and a batch that begins with these frames, (batch, *size, 3), see
            `step`.
        """
        std = self.noise_std if noise_std is None else noise_std
        rng, state, last = np.random.default_rng(seed), self.initial_state(), 0
        while True:
            first = last
            while last < first + batch_size and audio.length(last / self.frame_rate) > (
                last / self.frame_rate
            ):
                last += 1
            if first == last:
                return
            frames, missing = range(first, last), [(0, first + batch_size - last)]
            features = self.audio_frontend.extract(audio, frames)
            noise = std * rng.standard_normal((len(frames), self.noise_size), np.float32)
            state, generated = self.step(
                encoded_image,
                np.pad(features, [*missing, *[(0, 0)] * (features.ndim - 1)]),
                np.pad(noise, [*missing, (0, 0)]),
                state,
            )
            yield frames, generated


def load(directory: str | os.PathLike) -> AnimationModel:
    """Loads a trained generator.

    Args:
        directory: a training run's workdir, or what `lipsync convert` wrote.

    Raises:
        FileNotFoundError: there is no checkpoint, or it has no generator.
        ValueError: its method does not animate images, or the weights have other shapes than the
            network.
    """
    model_card = checkpoints.read_model_card(directory)
    method = model_card["config"]["method"]
    if method not in METHODS:
        raise ValueError(
            f"checkpoint {directory} is of the method {method}, which does not animate images; "
            f"give a checkpoint of {', '.join(METHODS)}"
        )

    def read_networks(check: checkpoints.ShapeCheck, *networks: str) -> dict[str, Tree]:
        return jax.device_put(checkpoints.load_networks(directory, networks, check))

    with checkpoints.raise_on_shape_mismatch(directory):
        return METHODS[method](model_card, read_networks)


def _vougioukas(model_card: ModelCard, read_networks: ReadNetworks) -> AnimationModel:
    config = ml_collections.ConfigDict(model_card["config"])
    network, rate = vougioukas.network(config), _frame_rate(model_card)
    frontend = WaveformFrontend(network.audio_rate, network.audio_samples, rate)
    return _recurrent(model_card, read_networks, network, frontend)


def _jain(model_card: ModelCard, read_networks: ReadNetworks) -> AnimationModel:
    config = ml_collections.ConfigDict(model_card["config"])
    frontend = MFCCFrontend(_frame_rate(model_card), float(config.audio_std))
    return _recurrent(model_card, read_networks, jain.network(config), frontend)


def _recurrent(
    model_card: ModelCard,
    read_networks: ReadNetworks,
    network: RecurrentGenerator,
    frontend: AudioFrontend,
) -> AnimationModel:
    """Loads a generator with recurrent states of audio and noise."""

    def encode_image(variables: Variables, image: jax.Array) -> tuple[Tree, Tree]:
        reference = image[None].astype(jnp.float32) / 127.5 - 1
        frame_inputs = (jnp.zeros((1, 1, *n)) for n in (frontend.shape, (network.noise_size,)))
        _, collections = network.apply(
            variables, reference, *frame_inputs, mutable=[REFERENCE_CACHE]
        )
        return network.apply(variables, reference, method="encode_reference"), collections

    def step(
        variables: Variables,
        encoded_image: Tree,
        features: jax.Array,
        noise: jax.Array,
        carry: Tree,
    ) -> tuple[Tree, jax.Array]:
        reference_code, collections = encoded_image
        output: Tree = network.apply(
            {**variables, **collections},
            reference_code,
            features[None],
            noise[None],
            carry,
            method="generate",
        )
        carry, frames = output
        return carry, _to_uint8(frames[0])

    def check(found: Mapping[str, Variables]) -> None:
        image = jax.ShapeDtypeStruct((*network.image_size, 3), jnp.uint8)
        features, noise = (
            jax.ShapeDtypeStruct((1, *n), jnp.float32)
            for n in (frontend.shape, (network.noise_size,))
        )
        encoded_image = jax.eval_shape(encode_image, found["generator"], image)
        carry = jax.eval_shape(lambda: network.initial_carry(1))
        jax.eval_shape(step, found["generator"], encoded_image, features, noise, carry)

    variables = read_networks(check, "generator")["generator"]
    return AnimationModel(
        size=(network.image_size[0], network.image_size[1]),
        frame_rate=_frame_rate(model_card),
        audio_frontend=frontend,
        noise_size=network.noise_size,
        noise_std=float(model_card["config"].get("eval_noise_std", NOISE_STD)),
        align=_aligner(model_card, (network.image_size[0], network.image_size[1])),
        encode_image=functools.partial(jit(encode_image), variables),
        initial_state=functools.partial(network.initial_carry, 1),
        step=functools.partial(jit(step), variables),
        model_hash=metadata.model_hash(variables),
    )


def _fixed_length_clip(model_card: ModelCard, read_networks: ReadNetworks) -> AnimationModel:
    """Loads a network of windows of sixteen frames, one noise sample each; windows are cross-faded.

    Windows continue beyond the end of the audio, so the last frames are not those of
    `FixedLengthClipMethod.generate_clip`, whose last window ends with the clip.
    """
    config = ml_collections.ConfigDict(model_card["config"])
    method = cast(lip_video_gan.FixedLengthClipMethod, methods.load(config))
    rate, size = lip_video_gan.FRAME_RATE, (SIZE, SIZE)
    frontend = LogMelFrontend(rate, FRAMES, float(config.audio_mean), float(config.audio_std))

    def step(
        variables: Variables, image: jax.Array, features: jax.Array, noise: jax.Array, state: Tree
    ) -> tuple[Tree, jax.Array]:
        has_previous, previous_tail, clip_noise = state
        clip_noise = jnp.where(has_previous, clip_noise, noise[0])
        features = features[:: lip_video_gan.WINDOW_HOP]
        reference = image.astype(jnp.float32) / 127.5 - 1
        reference, noise_batch = (
            jnp.broadcast_to(x, (len(features), *x.shape)) for x in (reference, clip_noise)
        )
        windows = method.generate_frames(variables, reference, features, noise_batch)
        frames, previous_tail = lip_video_gan.cross_fade_streaming(
            has_previous, previous_tail, windows
        )
        return (jnp.array(True), previous_tail, clip_noise), _to_uint8(frames)

    def initial_state() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        previous_tail = np.zeros((lip_video_gan.WINDOW_HOP, *size, 3), np.float32)
        return np.array(False), previous_tail, np.zeros(method.noise_size, np.float32)

    image = np.zeros((*size, 3), np.uint8)
    features, noise = (
        np.zeros((lip_video_gan.WINDOW_HOP, *n), np.float32)
        for n in (frontend.shape, (method.noise_size,))
    )
    variables = read_networks(
        lambda found: jax.eval_shape(
            step, found["generator"], image, features, noise, initial_state()
        ),
        "generator",
    )["generator"]
    return AnimationModel(
        size=size,
        frame_rate=rate,
        audio_frontend=frontend,
        noise_size=method.noise_size,
        noise_std=1.0,
        align=_aligner(model_card, size),
        encode_image=jax.device_put,
        initial_state=initial_state,
        step=functools.partial(jit(step), variables),
        model_hash=metadata.model_hash(variables),
        frame_multiple=lip_video_gan.WINDOW_HOP,
    )


def _speech2vid(model_card: ModelCard, read_networks: ReadNetworks) -> AnimationModel:
    """Loads a network without recurrence; several reference images are copies of one."""
    config = ml_collections.ConfigDict(model_card["config"])
    method = cast(speech2vid.Speech2Vid, methods.load(config))
    frontend, size = SpectrogramFrontend(MFCC, _frame_rate(model_card)), (speech2vid.FACE_SIZE,) * 2

    def step(
        networks: Mapping[str, Variables],
        image: jax.Array,
        features: jax.Array,
        noise: jax.Array,
        state: Tree,
    ) -> tuple[Tree, jax.Array]:
        del noise
        reference = image.astype(jnp.float32) / 255
        references = jnp.tile(reference, (len(features), 1, 1, config.num_reference_images))
        _, sharp = method.generate_frames(networks, features, references)
        return state, _to_uint8(speech2vid.pad_to_face(sharp) * 2 - 1)

    inputs = np.zeros((*size, 3), np.uint8), np.zeros((1, *frontend.shape), np.float32)
    networks = read_networks(
        lambda found: jax.eval_shape(step, found, *inputs, None, None), *method.networks
    )
    return AnimationModel(
        size=size,
        frame_rate=_frame_rate(model_card),
        audio_frontend=frontend,
        noise_size=0,
        noise_std=0.0,
        align=_aligner(model_card, size),
        encode_image=jax.device_put,
        initial_state=lambda: None,
        step=functools.partial(jit(step), networks),
        model_hash=metadata.model_hash(networks),
    )


# Method of a checkpoint -> (model model_card, reader of its networks) -> its animation model.
METHODS: Mapping[str, Callable[[ModelCard, ReadNetworks], AnimationModel]] = {
    "vougioukas": _vougioukas,
    "jain": _jain,
    "glance": _fixed_length_clip,
    "vgan": _fixed_length_clip,
    "speech2vid": _speech2vid,
}


def _to_uint8(frames: jax.Array) -> jax.Array:
    """Maps [-1, 1] to uint8."""
    return jnp.rint(jnp.clip(frames * 0.5 + 0.5, 0, 1) * 255).astype(jnp.uint8)


def _frame_rate(model_card: ModelCard) -> Fraction:
    rate = model_card.get("frame_rate") or model_card["config"]["frame_rate"]
    return Fraction(rate).limit_denominator(1001)


def _aligner(model_card: ModelCard, size: tuple[int, int]) -> Callable[[faces.Face], np.ndarray]:
    """Returns the alignment of the network's training data."""
    if "canonical_face" in model_card:
        canonical = np.asarray(model_card["canonical_face"], np.float64)[list(alignment.LANDMARKS)]
        return lambda face: alignment.align_matrix(face.landmarks, canonical)
    crop_spec = CROP_SPECS[model_card["config"]["data"]["crop"]]
    if crop_spec.method == "aligned":
        canonical = alignment.CANONICAL[crop_spec.region]
        return lambda face: alignment.align_matrix(face.landmarks, canonical)
    return lambda face: _box_matrix(faces.face_box(face.box, face.landmarks), size)


def _box_matrix(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the matrix that scales a box to an image, between pixel centres."""
    scale = np.array(size[::-1]) / (box[2:] - box[:2])
    matrix = np.diag([*scale, 1.0])
    matrix[:2, 2] = scale * (0.5 - box[:2]) - 0.5
    return matrix
