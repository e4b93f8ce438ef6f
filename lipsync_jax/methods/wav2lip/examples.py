"""Training and validation examples of Wav2Lip: windows of frames of a clip, with their audio."""

import ml_collections
import numpy as np

from lipsync_jax.data import augment, degrade, windows
from lipsync_jax.data.audio_features import MEL
from lipsync_jax.data.clip import Clip, decode_frames
from lipsync_jax.data.feature_cache import FeatureCache
from lipsync_jax.methods.base import Arrays
from lipsync_jax.methods.common import window_sampling
from lipsync_jax.methods.common.window_sampling import AudioSpan
from lipsync_jax.methods.inference import SyncInference


class ExampleSampler:
    """Samples windows of clips, as long as those of an expert."""

    def __init__(self, config: ml_collections.ConfigDict, expert: SyncInference) -> None:
        self._config, self._expert = config, expert
        self._feature_cache = FeatureCache()

    def training_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Returns windows of frames of a clip, as long as the expert's, with reference and audio.

        Returns:
            frames: uint8 (windows, frames, size, size, 3), BGR.
            reference: uint8 (windows, frames, size, size, 3), BGR, another window.
            audio: float32 (windows, frames, 16, 80), log-mel of each frame, for the generator.
            sync_audio: float32 (windows, columns, bins), of all frames of a window, for the expert.
        """
        magnitude = self._config.degrade_magnitude
        example = self._sample_windows(clip, rng, self._config.frames_per_window, magnitude)
        if not magnitude and not self._config.augment_magnitude:
            return example  # without copies of the frames
        count = self._config.windows_per_clip
        # The box of a reference image is of another moment than that of the frame.
        jittered = [degrade.jitter_boxes(x, rng, magnitude) for x in example["reference"]]
        faces = np.concatenate([example["frames"], np.stack(jittered)]).reshape(
            -1, *example["frames"].shape[2:]
        )
        faces = augment.augment_faces(faces, rng, self._config.augment_magnitude)
        faces = degrade.degrade_faces(faces, rng, magnitude)
        example["frames"], example["reference"] = faces.reshape(2, count, -1, *faces.shape[1:])
        return example

    def validation_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Returns an unaugmented example and the clip's mean frame.

        Returns:
            frames, reference, audio, sync_audio: see `training_example`.
            mean_frame: uint8 (size, size, 3), the mean of all frames: the audio-independent
                baseline.
        """
        example = self._sample_windows(clip, rng)
        mean_frame = decode_frames(clip, range(len(clip.frames))).mean(axis=0)
        return {**example, "mean_frame": np.rint(mean_frame).astype(np.uint8)}

    def _sample_windows(
        self, clip: Clip, rng: np.random.Generator, kept: int = 0, degrade_magnitude: float = 0.0
    ) -> Arrays:
        """Returns an example without augmentation of images.

        Args:
            clip: the clip.
            rng: source of randomness.
            kept: frames of each window; 0: all.
            degrade_magnitude: see `degrade.degrade_mel`.
        """
        count = self._config.windows_per_clip
        window = self._expert.window_frames
        last = len(clip.frames) - window
        if last < 1:
            raise ValueError(
                f"the clip has {len(clip.frames)} frames; Wav2Lip takes {window + 1} or more"
            )
        starts = rng.choice(np.flatnonzero(self._may_sample(clip, last + 1)), count)
        references = (starts + rng.integers(1, last + 1, count)) % (last + 1)
        kept = kept or window
        within = np.arange(kept) * window // kept  # as far apart as possible
        chosen = np.concatenate([starts, references])[:, None] + within
        frames = decode_frames(clip, chosen.ravel())
        frames = frames.reshape(2, count, kept, *frames.shape[1:])
        own = windows.generator_window_start(starts[:, None] + within, clip.frame_rate)
        sync_features = self._expert.audio_features
        shared = sync_features.window_starts_of_frames(starts, clip.frame_rate)
        example = {"frames": frames[0], "reference": frames[1]}
        if not degrade_magnitude:
            cache = self._feature_cache
            return {
                **example,
                "audio": cache.windows(clip, MEL, own),
                "sync_audio": cache.windows(clip, sync_features, shared),
            }
        mel = degrade.degrade_mel(self._feature_cache.mel(clip), rng, degrade_magnitude)
        # Features of one name are equal, whatever their windows are.
        is_mel = sync_features.name == MEL.name
        return {
            **example,
            "audio": windows.gather_windows(mel, own),
            "sync_audio": sync_features.gather(
                mel if is_mel else self._feature_cache.features(clip, sync_features), shared
            ),
        }

    def _may_sample(self, clip: Clip, count: int) -> np.ndarray:
        """Returns which of the first `count` windows may be sampled, see `check_edge_windows`."""
        if self._config.edge_windows == "pad":
            return np.ones(count, bool)
        # As published: the audio of frame 0 starts before the clip, so no window has that frame.
        spec, columns = self._expert.audio_features, self._feature_cache.num_columns
        return window_sampling.windows_inside(
            count,
            clip.frame_rate,
            AudioSpan(MEL, columns(clip, MEL), self._expert.window_frames),
            AudioSpan(spec, columns(clip, spec)),
        )
