"""What a method can do once trained: the protocols that its inference.py implements.

    def make(model_card: ModelCard) -> Inference

A `make` builds the object from a checkpoint's model card. The object holds the network and what its
inputs look like, never an array of weights: those are passed in, so that the caller chooses the
device and compiles. Programs that dub, animate or measure synchronization know these three classes
and no paper.
"""

import abc
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import ClassVar

import jax
import numpy as np

from lipsync_jax import faces
from lipsync_jax.data.audio_features import AudioFeatureSpec
from lipsync_jax.data.audio_frontends import AudioFrontend
from lipsync_jax.types import Tree, Variables


class DubbingInference(abc.ABC):
    """Replaces the lower half of a face: face and audio -> face.

    Attributes:
        network: checkpoint item with the weights.
        image_size: rows and columns of a face, pixels.
        audio_features: the audio features, and the window of them that drives one frame.
        crop: name of the crop that the network was trained on.
    """

    network: ClassVar[str] = "generator"
    image_size: int
    audio_features: AudioFeatureSpec
    crop: str

    @abc.abstractmethod
    def generate(
        self,
        variables: Variables,
        audio: jax.Array,
        faces: jax.Array,
        references: jax.Array,
        first_row: int = 0,
    ) -> jax.Array:
        """Generates faces, or their rows from one on; traced.

        Args:
            variables: of `network`.
            audio: float32 (n, columns, bins), one window a face.
            faces: float32 (n, image_size, image_size, 3), BGR in [0, 1], nothing masked.
            references: other images of these faces, of the shape and range of `faces`; where there
                are none, the faces themselves.
            first_row: rows above it are left out. Networks that need not compute them save time;
                others generate whole faces and return `[:, first_row:]`.

        Returns:
            float32 (n, image_size - first_row, image_size, 3), BGR, nominally in [0, 1].
        """


class AnimationInference(abc.ABC):
    """Animates a reference image: image and audio -> frames, some at a time, with state.

    Attributes:
        networks: checkpoint items with the weights.
        crop: name of the crop that the networks were trained on; empty where the checkpoint does
            not tell.
        image_size: height and width of the frames, pixels.
        frame_rate: frames a second, exact.
        audio_frontend: makes audio features of a stream.
        noise_size: numbers of noise a frame; 0 without noise.
        noise_std: default standard deviation of the noise.
        frame_multiple: `step` takes a multiple of so many frames.
        window_frames: frames that the network generates at once, see `generate_windows`; 0 for a
            network of frames.
    """

    networks: Sequence[str] = ("generator",)
    crop: str = ""
    image_size: tuple[int, int]
    frame_rate: Fraction
    audio_frontend: AudioFrontend
    noise_size: int = 0
    noise_std: float = 0.0
    frame_multiple: int = 1
    window_frames: int = 0

    @abc.abstractmethod
    def align(self, face: faces.Face) -> np.ndarray:
        """Returns the matrix from a face's image to the network's, see `faces.alignment`."""

    def encode_image(self, variables: Mapping[str, Variables], image: jax.Array) -> Tree:
        """Encodes the reference image once, for all steps; traced.

        Args:
            variables: of `networks`, by name.
            image: uint8 (*image_size, 3), RGB.
        """
        del variables
        return image

    def initial_state(self) -> Tree:
        """Returns what `step` takes before the first frame."""
        return None

    @abc.abstractmethod
    def step(
        self,
        variables: Mapping[str, Variables],
        encoded_image: Tree,
        features: jax.Array,
        noise: jax.Array,
        state: Tree,
    ) -> tuple[Tree, jax.Array]:
        """Generates the next frames; traced.

        Args:
            variables: of `networks`, by name.
            encoded_image: from `encode_image`.
            features: float32 (n, *audio_frontend.shape), one entry a frame.
            noise: float32 (n, noise_size).
            state: from `initial_state` or the step before.

        Returns:
            The state after these frames, and the frames: uint8 (n, *image_size, 3), RGB.
        """

    def generate_windows(
        self,
        variables: Mapping[str, Variables],
        encoded_image: Tree,
        features: jax.Array,
        noise: jax.Array,
    ) -> jax.Array:
        """Generates windows, each on its own; traced. Only with `window_frames`.

        Args:
            variables: of `networks`, by name.
            encoded_image: from `encode_image`.
            features: float32 (n, *audio_frontend.shape), of the first frame of each window.
            noise: float32 (n, noise_size).

        Returns:
            uint8 (n, window_frames, *image_size, 3), RGB.
        """
        raise NotImplementedError


class SyncInference(abc.ABC):
    """A sync model: embeds windows of frames and of audio, alike where they are synchronous.

    Frames are shown at 25 a second where the model measures videos; in training at the rate of
    their clip.

    Attributes:
        network: checkpoint item with the weights.
        name: of the network, for reports.
        window_frames: frames of a window.
        audio_features: the audio features, and the window of them that belongs to a window of
            frames; `lookback` counts from the first frame, and is 0 in the published models.
        image_size: rows and columns of a crop, pixels.
        crop_style: `face` (see `faces.face_box`) or `syncnet` (see `evaluation.cropping`).
        crop: name of the crop that the network was trained on; empty for `syncnet`.
        gives_lse: whether distances are the published metrics LSE-D and LSE-C.
        batch_size: windows embedded at once.
    """

    network: ClassVar[str] = "expert"
    name: ClassVar[str]
    window_frames: int
    audio_features: AudioFeatureSpec
    image_size: int
    crop_style: str = "face"
    crop: str = ""
    gives_lse: bool = False
    batch_size: int = 32

    @abc.abstractmethod
    def embed_video(self, variables: Variables, windows: jax.Array) -> jax.Array:
        """Embeds windows of frames; traced.

        Args:
            variables: of `network`.
            windows: float32 (n, window_frames, image_size, image_size, 3), BGR in [0, 1].

        Returns:
            float32 (n, d).
        """

    @abc.abstractmethod
    def embed_audio(self, variables: Variables, windows: jax.Array) -> jax.Array:
        """Embeds windows of audio features; traced.

        Args:
            variables: of `network`.
            windows: float32 (n, columns, bins).

        Returns:
            float32 (n, d).
        """

    def embed(
        self,
        variables: Variables,
        frames: jax.Array,
        audio: jax.Array,
        use_batch_stats: bool = False,
    ) -> tuple[jax.Array, jax.Array]:
        """Embeds windows of frames and as many of audio; traced, differentiable.

        Args:
            variables: of `network`.
            frames: see `embed_video`.
            audio: see `embed_audio`.
            use_batch_stats: whether BatchNorm takes the statistics of the batch in place of the
                running ones; without effect on a network without BatchNorm.

        Returns:
            Video embeddings and audio embeddings.
        """
        del use_batch_stats
        return self.embed_video(variables, frames), self.embed_audio(variables, audio)


Inference = DubbingInference | AnimationInference | SyncInference
