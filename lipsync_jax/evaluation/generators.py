"""Runs trained generators on clips of prepared shards: own audio, first frame as reference."""

import dataclasses
import math
import os
from collections.abc import Callable
from fractions import Fraction
from typing import ClassVar

import numpy as np

from lipsync_jax import methods
from lipsync_jax.data.audio_features import MEL, AudioFeatureSpec
from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.evaluation import cropping
from lipsync_jax.evaluation.clip_windows import WINDOW_FRAMES, window_indices
from lipsync_jax.evaluation.face_clip import FaceClip
from lipsync_jax.evaluation.sync_models import FRAME_RATE
from lipsync_jax.methods.inference import AnimationInference
from lipsync_jax.synthesis import animation_model, dubbing_model
from lipsync_jax.synthesis.animation_model import AnimationModel
from lipsync_jax.synthesis.streaming_audio import StreamingAudio
from lipsync_jax.training import checkpoints
from lipsync_jax.types import Tree

_BATCH_SIZE = 25  # frames
_WINDOW_BATCH_SIZE = 4


def load(directory: str | os.PathLike) -> "DubbingGenerator | AnimationGenerator":
    """Loads a generator of any method.

    Args:
        directory: a run's workdir, or a folder that `lipsync convert` wrote.

    Raises:
        FileNotFoundError: there is no checkpoint, or it has no generator.
        ValueError: its method has no face generator, or the weights have other shapes than the
            network.
    """
    method = checkpoints.read_model_card(directory)["config"].get("method")
    animates = methods.has_inference(method, AnimationInference)
    return (AnimationGenerator if animates else DubbingGenerator).load(directory)


class DubbingGenerator:
    """Generates the lower half of every face of a clip.

    Attributes:
        is_animation: whether the whole image is generated from a reference image.
        crop: of the shards that it was trained on, see `clip.CROP_SPECS`.
        model_hash: identifies the weights, see `metadata.model_hash`.
        audio_features: the audio features that condition the generator.
    """

    is_animation: ClassVar = False

    def __init__(
        self, crop: str, model_hash: str, generate: Callable, audio_features: AudioFeatureSpec = MEL
    ) -> None:
        self.crop, self.model_hash, self.audio_features, self._generate = (
            crop,
            model_hash,
            audio_features,
            generate,
        )

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "DubbingGenerator":
        """Loads a generator of a dubbing method; see `dubbing_model.load_generator`."""
        inference, program, model_hash = dubbing_model.load_generator(directory)
        return cls(
            inference.crop,
            model_hash,
            program,
            inference.audio_features,
        )

    def __call__(self, clip: FaceClip, silent: bool = False) -> FaceClip:
        """Returns the clip with generated lower halves.

        Args:
            clip: of `face_clip.from_clip`; the generator gets the upper half of each frame, and the
                whole first frame as its reference image.
            silent: whether digital silence drives the generator in place of the clip's audio.
        """
        size = CROP_SPECS[self.crop].height
        faces = clip.crops(size)
        features = self.audio_features.compute(
            np.zeros_like(clip.samples) if silent else clip.samples
        )
        times = [Fraction(frame, FRAME_RATE) for frame in range(len(faces))]
        audio_windows = self.audio_features.gather(
            features, self.audio_features.window_starts(times)
        )
        generated = []
        for i in range(0, len(faces), _BATCH_SIZE):
            part, audio = faces[i : i + _BATCH_SIZE], audio_windows[i : i + _BATCH_SIZE]
            missing = [(0, _BATCH_SIZE - len(part))]
            output = self._generate(
                np.pad(audio, [*missing, (0, 0), (0, 0)]),
                np.pad(part, [*missing, (0, 0), (0, 0), (0, 0)]),
                faces[0],
            )
            generated.append(np.asarray(output)[: len(part)])
        images = np.concatenate(generated)[..., ::-1]
        return dataclasses.replace(clip, read_frames=lambda: iter(np.ascontiguousarray(images)))


class AnimationGenerator:
    """Animates the first frame of a clip by the clip's audio.

    Attributes:
        is_animation: whether the whole image is generated from a reference image.
        crop: of the shards that it was trained on, see `clip.CROP_SPECS`.
        model_hash: identifies the weights, see `metadata.model_hash`.
    """

    is_animation: ClassVar = True

    def __init__(self, crop: str, model: AnimationModel) -> None:
        self.crop, self.model_hash, self._model = crop, model.model_hash, model

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "AnimationGenerator":
        """Loads a generator of a method that animates images.

        Raises:
            FileNotFoundError, ValueError: see `animation_model.load`; or the checkpoint does not
                name its crop.
        """
        crop = animation_model.load_declaration(directory).crop
        if not crop:
            raise ValueError(
                f"checkpoint {directory} does not name the crop that it was trained on "
                "(config.data.crop), so prepared clips can't be its input; animate images with "
                "`lipsync animate` and evaluate the videos"
            )
        return cls(crop, animation_model.load(directory))

    def __call__(self, clip: FaceClip, silent: bool = False) -> FaceClip:
        """Returns the animated clip, until the audio or the clip ends.

        Args:
            clip: of `face_clip.from_clip`.
            silent: whether digital silence drives the generator in place of the clip's audio.
        """
        assert clip.source_audio is not None  # set by `from_clip`
        model, (samples, rate) = self._model, clip.source_audio
        batch = math.ceil(_BATCH_SIZE / model.frame_multiple) * model.frame_multiple
        samples = samples * 0 if silent else samples
        audio = StreamingAudio([samples], rate, model.audio_frontend.rate)
        encoded_image = model.encode_image(next(iter(clip.read_frames())))
        batches = model.generate(encoded_image, audio, batch)
        frames = np.concatenate([np.asarray(images)[: len(indices)] for indices, images in batches])
        times = [index / model.frame_rate for index in range(len(frames))]
        output = frames[np.array(cropping.frame_indices_at_rate(times))]
        cut = clip.first_frames(len(output))
        windows = None
        if model.window_frames == WINDOW_FRAMES and model.frame_rate == FRAME_RATE and not silent:
            audio = StreamingAudio([samples], rate, model.audio_frontend.rate)
            windows = self._windows(encoded_image, audio, len(cut))
        return dataclasses.replace(
            cut, read_frames=lambda: iter(output[: len(clip)]), windows=windows
        )

    def _windows(self, encoded_image: Tree, audio: StreamingAudio, frames: int) -> np.ndarray:
        """Returns the windows of a clip of some frames, see `FaceClip.windows`."""
        model, starts = self._model, window_indices(frames)[:, 0]
        assert model.generate_windows is not None  # `window_frames` is not 0
        rng, generated = np.random.default_rng(0), []
        for first in range(0, len(starts), _WINDOW_BATCH_SIZE):
            some = starts[first : first + _WINDOW_BATCH_SIZE]
            features = np.concatenate(
                [model.audio_frontend.extract(audio, range(s, s + 1)) for s in some]
            )
            missing = _WINDOW_BATCH_SIZE - len(some)
            features = np.pad(features, [(0, missing), *[(0, 0)] * (features.ndim - 1)])
            noise = rng.standard_normal((_WINDOW_BATCH_SIZE, model.noise_size), np.float32)
            windows = model.generate_windows(encoded_image, features, model.noise_std * noise)
            generated.append(np.asarray(windows)[: len(some)])
        shape = (0, WINDOW_FRAMES, *model.size, 3)
        return np.concatenate(generated) if generated else np.zeros(shape, np.uint8)
