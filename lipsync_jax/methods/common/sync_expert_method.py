"""Training of a sync expert: are face and audio in sync?

The expert's declaration (see `two_stream_sync`) gives the length of its windows, its audio features
and its module. `config.objective = "cosine_bce"` is the objective of Prajwal et al. (2020, section
3.3), binary cross-entropy of the cosine; `"info_nce"` compares each window's face with every
window's audio of the batch (symmetric InfoNCE), which needs less data; `"info_nce_in_clip"`
compares with the audio of windows of the same clip only, which have the same voice and room.
"""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax import losses
from lipsync_jax.data import augment, degrade
from lipsync_jax.data.clip import Clip, decode_frames
from lipsync_jax.data.feature_cache import FeatureCache
from lipsync_jax.methods.base import (
    Arrays,
    Method,
    Network,
    State,
    global_norm,
    init_train_state,
    make_optimizer,
)
from lipsync_jax.methods.common import window_sampling
from lipsync_jax.methods.common.sync_metrics import sync_metrics
from lipsync_jax.methods.common.two_stream_sync import TwoStreamSyncInference
from lipsync_jax.methods.common.window_sampling import AudioSpan
from lipsync_jax.types import ModelCards, Tree

OBJECTIVES = ("cosine_bce", "info_nce", "info_nce_in_clip")


def chance_loss(objective: str, clips: int, windows_per_clip: int) -> float:
    """Returns the loss of an expert to which all windows are alike, in nats.

    Args:
        objective: one of OBJECTIVES.
        clips: of a batch.
        windows_per_clip: of a batch.
    """
    alternatives = {
        "cosine_bce": 2,
        "info_nce": clips * windows_per_clip,
        "info_nce_in_clip": windows_per_clip,
    }
    return math.log(alternatives[objective])


class SyncExpertMethod(Method):
    """One network, `expert`.

    Attributes:
        expert: what is trained, and what its inputs are: the windows of frames and log-mel audio.
    """

    best_metric = ("balanced_accuracy", "max")

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        model_cards: ModelCards,
        expert: TwoStreamSyncInference,
    ) -> None:
        super().__init__(config, model_cards)
        self.expert = expert
        self.networks = {"expert": Network(expert.module, make_optimizer(config.optimizer))}
        self._feature_cache = FeatureCache()

    @property
    def window_frames(self) -> int:
        """Frames of a window, and the distance from which on windows do not overlap."""
        return self.expert.window_frames

    @property
    def negative_distance(self) -> int:
        """Least distance of a negative of the same clip, frames."""
        return self.config.min_negative_distance or self.window_frames

    def validate_config(self) -> None:
        """Raises ValueError for an unknown objective or kind of windows."""
        if self.config.objective not in OBJECTIVES:
            raise ValueError(
                f"config.objective={self.config.objective!r}: choose {', '.join(OBJECTIVES)}"
            )
        if self.config.negatives not in ("same_clip", "other_clips", "mixed"):
            raise ValueError(
                f"config.negatives={self.config.negatives!r}: choose 'same_clip', 'other_clips' "
                "or 'mixed'"
            )
        self._require_negatives()
        window_sampling.check_edge_windows(self.config.edge_windows)
        if self.config.min_negative_distance < 0:
            raise ValueError(
                f"config.min_negative_distance={self.config.min_negative_distance}: give 1 or more "
                "frames, or 0 for the length of a window"
            )

    def _require_negatives(self) -> None:
        """Raises ValueError where a batch has no window to compare another one with."""
        config, clips = self.config, self.config.data.batch_size
        if config.objective == "cosine_bce":
            if config.negatives != "same_clip" and clips < 2:
                raise ValueError(
                    f"config.negatives={config.negatives} takes the audio of other clips of a "
                    "batch; set --config.data.batch_size to 2 or more"
                )
        elif not chance_loss(config.objective, clips, config.windows_per_clip):
            raise ValueError(
                f"config.objective={config.objective} compares windows with each other, and there "
                "is one; set --config.windows_per_clip to 2 or more"
            )

    def make_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Returns windows of one clip.

        Returns:
            frames: uint8 (windows, window_frames, size, size, 3), BGR.
            audio: float32 (windows, columns, 80), log-mel.
            label: float32 (windows,), 1 where face and audio are in sync, else 0.
            use_mismatched_audio: bool (windows,), true where the audio of another clip of the
                batch replaces this clip's.
        """
        count = self.config.windows_per_clip
        starts = self._sample_starts(clip, rng, count)  # of every clip once an epoch: deviation W6
        magnitude = self.config.degrade_magnitude
        mel = self._audio_windows(clip, starts, rng, magnitude)
        label, from_other_clip, frame_starts = (
            np.ones(count, np.float32),
            np.zeros(count, bool),
            starts.copy(),
        )
        if self.config.objective == "cosine_bce":
            label = rng.integers(0, 2, count).astype(np.float32)
            probability = {"same_clip": 0.0, "other_clips": 1.0, "mixed": 0.5}[
                self.config.negatives
            ]
            from_other_clip = (label == 0) & (rng.random(count) < probability)
            for i in np.flatnonzero((label == 0) & ~from_other_clip):
                frame_starts[i] = self._sample_negative_start(clip, rng, starts[i])
        frames = decode_frames(
            clip, (frame_starts[:, None] + np.arange(self.window_frames)).ravel()
        )
        frames = augment.augment_faces(frames, rng, self.config.augment_magnitude)
        frames = degrade.degrade_faces(frames, rng, magnitude)
        return {
            "frames": frames.reshape(count, self.window_frames, *frames.shape[1:]),
            "audio": augment.augment_mel(mel, rng, self.config.augment_magnitude),
            "label": label,
            "use_mismatched_audio": from_other_clip,
        }

    def make_validation_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Returns all windows of a clip, cut or padded to `config.data.validation_frames` frames.

        Returns:
            frames: uint8 (validation_frames, size, size, 3), BGR.
            audio: float32 (windows, columns, 80), log-mel; validation_frames - window_frames + 1
                windows.
            mask: bool (windows,), the windows inside the clip.
            speech: bool (windows,), windows with speech in most of their frames.
        """
        total = self.config.data.validation_frames
        count = min(total, len(clip.frames))
        frames = decode_frames(clip, range(count))
        starts = np.arange(total - self.window_frames + 1)
        mask = starts <= count - self.window_frames
        speech = np.zeros(len(mask), bool)
        active = self._feature_cache.speech_activity(clip)[:count]
        runs = (
            np.lib.stride_tricks.sliding_window_view(active, self.window_frames).mean(axis=1) > 0.5
        )
        speech[: len(runs)] = runs
        return {
            "frames": np.concatenate([frames, np.repeat(frames[-1:], total - count, axis=0)]),
            "audio": self._audio_windows(clip, starts),
            "mask": mask,
            "speech": speech & mask,
        }

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """Returns the initial state, see `Method`."""
        faces = self.expert.video_inputs(batch["frames"][:1, 0].astype(jnp.float32) / 255)
        audio = self.expert.audio_inputs(batch["audio"][:1, 0])
        variables = self.networks["expert"].module.init(key, audio, faces, train=False)
        return init_train_state(key, {"expert": self.networks["expert"].init_state(variables)})

    def train_step(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """Runs one step on windows of several clips."""
        mel, label = batch["audio"], batch["label"]
        # The previous example of the batch is another clip.
        mel = jnp.where(
            batch["use_mismatched_audio"][..., None, None], jnp.roll(mel, 1, axis=0), mel
        )
        mel = self.expert.audio_inputs(mel.reshape(-1, *mel.shape[2:]))
        faces = batch["frames"].reshape(-1, *batch["frames"].shape[2:]).astype(jnp.float32) / 255
        expert, before = self.networks["expert"], state.networks["expert"]
        groups = None
        if self.config.objective == "info_nce_in_clip":
            clips, count = label.shape
            groups = jnp.repeat(jnp.arange(clips), count)

        def loss(params: Tree) -> tuple[jax.Array, Tree]:
            (audio, video), stats = expert.apply_train(
                params,
                before.batch_stats,
                mel,
                self.expert.video_inputs(faces),
                rngs={"dropout": key},
            )
            cosine = losses.cosine_similarity(audio, video)
            if self.config.objective == "cosine_bce":
                value = losses.cosine_bce_loss(audio, video, label.reshape(-1))
            else:
                value = losses.info_nce(audio, video, self.config.temperature, groups)
            return value, (stats, cosine)

        (value, (stats, cosine)), grads = jax.value_and_grad(loss, has_aux=True)(before.params)
        after = expert.apply_gradients(before, grads, stats)
        scalars = {
            "loss": value,
            "cosine": jnp.mean(cosine),
            "cosine_std": jnp.std(cosine),
            "grad_norm": global_norm(grads),
        }
        return state.next_step(expert=after), scalars

    def eval_step(self, state: State, batch: Arrays) -> Arrays:
        """Computes cosines of each window's face with each window's audio of the same clip."""
        frames, mel = batch["frames"].astype(jnp.float32) / 255, batch["audio"]
        clips, count = mel.shape[:2]
        index = jnp.arange(count)[:, None] + jnp.arange(self.window_frames)
        faces = frames[:, index].reshape(-1, self.window_frames, *frames.shape[2:])
        video, audio = self.expert.embed(
            state.networks["expert"].variables, faces, mel.reshape(-1, *mel.shape[2:])
        )
        audio, video = (x.reshape(clips, count, -1) for x in (audio, video))
        cosine = jnp.einsum("cvd,cad->cva", video, audio, precision="highest")
        return {"cosine": cosine, "mask": batch["mask"], "speech": batch["speech"]}

    def aggregate_metrics(self, metrics: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Computes accuracies over the validation clips, see `sync_metrics`."""
        return sync_metrics(
            metrics["cosine"], metrics["mask"], metrics["speech"], self.window_frames
        )

    def _audio_windows(
        self,
        clip: Clip,
        starts: np.ndarray,
        rng: np.random.Generator | None = None,
        magnitude: float = 0.0,
    ) -> np.ndarray:
        """Returns the audio of the windows that start at some frames, (n, columns, bins).

        With a magnitude the audio is degraded, see `degrade.degrade_mel`.
        """
        spec = self.expert.audio_features
        columns = spec.window_starts_of_frames(starts, clip.frame_rate)
        if rng is None or not magnitude:
            return self._feature_cache.windows(clip, spec, columns)
        features = degrade.degrade_mel(self._feature_cache.features(clip, spec), rng, magnitude)
        return spec.gather(features, columns)

    def _sample_starts(self, clip: Clip, rng: np.random.Generator, count: int) -> np.ndarray:
        """Samples `count` windows, which do not overlap where the clip is long enough."""
        distance = self.window_frames
        last = len(clip.frames) - self.window_frames
        if last < distance:  # deviation W7
            raise ValueError(
                f"the clip has {len(clip.frames)} frames; the sync expert takes "
                f"{self.window_frames + distance} or more"
            )
        silence_weight = self.config.silence_sampling_weight
        weight = np.ones(last + 1)
        if silence_weight != 1:
            weight[~self._feature_cache.speech_activity(clip)[: last + 1]] = silence_weight
        weight = (weight + 1e-9) * self._may_sample(clip, last + 1)
        chosen: list[int] = []
        available = weight.copy()
        for _ in range(count):
            if not available.any():
                available = weight.copy()
            start = int(np.searchsorted(_cdf(available), rng.random(), side="right"))
            chosen.append(start)
            available[max(0, start - distance + 1) : start + distance] = 0
        return np.array(chosen)

    def _may_sample(self, clip: Clip, count: int) -> np.ndarray:
        """Returns which of the first `count` windows may be sampled, see `EDGE_WINDOWS`."""
        if self.config.edge_windows == "pad":
            return np.ones(count, bool)
        spec = self.expert.audio_features
        columns = self._feature_cache.num_columns(clip, spec)
        return window_sampling.windows_inside(count, clip.frame_rate, AudioSpan(spec, columns))

    def _sample_negative_start(self, clip: Clip, rng: np.random.Generator, start: int) -> int:
        # Windows before the start, and windows after it, that are far enough from it.
        num_before = max(0, start - self.negative_distance + 1)
        first_after = start + self.negative_distance
        num_after = max(0, len(clip.frames) - self.window_frames + 1 - first_after)
        chosen = int(rng.integers(num_before + num_after))
        return chosen if chosen < num_before else first_after + chosen - num_before


def _cdf(weights: np.ndarray) -> np.ndarray:
    """Returns the distribution function, as `Generator.choice` computes it, without its checks."""
    cdf = np.cumsum(weights / weights.sum())
    return cdf / cdf[-1]
