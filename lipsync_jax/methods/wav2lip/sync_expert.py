"""The lip-sync expert of Wav2Lip (Prajwal et al. 2020, section 3.3): are face and audio in sync?

One encoder of 5 frames of the lower face, one of 0.2 s of log-mel spectrogram, and the cosine of
their embeddings. `config.objective = "cosine_bce"` is the published one (binary cross-entropy of
the cosine). `"info_nce"` compares each window's face with every window's audio of the batch
(symmetric InfoNCE), which needs less data.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax import losses
from lipsync_jax.data import augment, windows
from lipsync_jax.data.clip import CROP_SPECS, Clip, decode_frames
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
from lipsync_jax.methods.wav2lip.model import SyncExpert
from lipsync_jax.nn.conv import stack_frames
from lipsync_jax.types import ModelCards, Tree

FRAMES = windows.SYNC_FRAMES
MAX_OFFSET = 15  # frames either way, the range of SyncNet's offset search
MIN_NEGATIVE_DISTANCE = 5  # frames; nearer windows overlap the positive window


def make(config: ml_collections.ConfigDict, model_cards: ModelCards) -> "SyncExpertMethod":
    """Returns the method of a config."""
    return SyncExpertMethod(config, model_cards)


def network(config: ml_collections.ConfigDict) -> SyncExpert:
    """Returns the expert that a config describes."""
    return SyncExpert(
        image_size=CROP_SPECS[config.data.crop].height,
        dtype=jnp.dtype(config.precision),
        **config.model,
    )


def stack_lower_half(faces: jax.Array) -> jax.Array:
    """Converts windows of whole faces to the expert's input.

    Args:
        faces: (n, 5, size, size, 3) BGR in [0, 1].

    Returns:
        (n, size / 2, size, 15): rows below the middle, channel 3 * frame + colour.
    """
    return stack_frames(faces[:, :, faces.shape[2] // 2 :])


def mel_to_nhwc(mel: jax.Array) -> jax.Array:
    """Converts log-mel windows to the encoders' input: (..., 16, 80) -> (n, 80, 16, 1)."""
    return windows.windows_to_nhwc(mel.reshape(-1, *mel.shape[-2:]))


class SyncExpertMethod(Method):
    """One network, `expert`."""

    best_metric = ("balanced_accuracy", "max")

    def __init__(self, config: ml_collections.ConfigDict, model_cards: ModelCards) -> None:
        super().__init__(config, model_cards)
        self.networks = {"expert": Network(network(config), make_optimizer(config.optimizer))}
        self._feature_cache = FeatureCache()

    def validate_config(self) -> None:
        """Raises ValueError for an unknown objective or kind of negatives."""
        if self.config.objective not in ("cosine_bce", "info_nce"):
            raise ValueError(
                f"config.objective={self.config.objective!r}: choose 'cosine_bce' or 'info_nce'"
            )
        if self.config.negatives not in ("same_clip", "other_clips", "mixed"):
            raise ValueError(
                f"config.negatives={self.config.negatives!r}: choose 'same_clip', 'other_clips' "
                "or 'mixed'"
            )

    def make_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Returns windows of one clip.

        Returns:
            frames: uint8 (windows, 5, size, size, 3), BGR.
            audio: float32 (windows, 16, 80), log-mel.
            label: float32 (windows,), 1 where face and audio are in sync, else 0.
            use_mismatched_audio: bool (windows,), true where the audio of another clip of the
                batch replaces this clip's.
        """
        count = self.config.windows_per_clip
        starts = self._sample_starts(clip, rng, count)
        mel = windows.gather_windows(
            self._feature_cache.mel(clip), windows.mel_window_start(starts, clip.frame_rate)
        )
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
        frames = decode_frames(clip, (frame_starts[:, None] + np.arange(FRAMES)).ravel())
        frames = augment.augment_faces(frames, rng, self.config.augment_magnitude)
        return {
            "frames": frames.reshape(count, FRAMES, *frames.shape[1:]),
            "audio": augment.augment_mel(mel, rng, self.config.augment_magnitude),
            "label": label,
            "use_mismatched_audio": from_other_clip,
        }

    def make_validation_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Returns all windows of a clip, cut or padded to `config.data.validation_frames` frames.

        Returns:
            frames: uint8 (validation_frames, size, size, 3), BGR.
            audio: float32 (validation_frames - 4, 16, 80), log-mel.
            mask: bool (validation_frames - 4,), the windows inside the clip.
            speech: bool (validation_frames - 4,), windows with speech in most of their frames.
        """
        total = self.config.data.validation_frames
        count = min(total, len(clip.frames))
        frames = decode_frames(clip, range(count))
        starts = windows.mel_window_start(np.arange(total - FRAMES + 1), clip.frame_rate)
        mask = np.arange(total - FRAMES + 1) <= count - FRAMES
        speech = np.zeros(len(mask), bool)
        active = self._feature_cache.speech_activity(clip)[:count]
        runs = np.lib.stride_tricks.sliding_window_view(active, FRAMES).mean(axis=1) > 0.5
        speech[: len(runs)] = runs
        return {
            "frames": np.concatenate([frames, np.repeat(frames[-1:], total - count, axis=0)]),
            "audio": windows.gather_windows(self._feature_cache.mel(clip), starts),
            "mask": mask,
            "speech": speech & mask,
        }

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """Returns the initial state, see `Method`."""
        faces, mel = _first_window(batch)
        variables = self.networks["expert"].module.init(key, mel, faces, train=False)
        return init_train_state(key, {"expert": self.networks["expert"].init_state(variables)})

    def train_step(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """Runs one step on windows of several clips."""
        mel, label = batch["audio"], batch["label"]
        # The previous example of the batch is another clip.
        mel = jnp.where(
            batch["use_mismatched_audio"][..., None, None], jnp.roll(mel, 1, axis=0), mel
        )
        mel = mel_to_nhwc(mel)
        faces = batch["frames"].reshape(-1, *batch["frames"].shape[2:]).astype(jnp.float32) / 255
        expert, before = self.networks["expert"], state.networks["expert"]

        def loss(params: Tree) -> tuple[jax.Array, Tree]:
            (audio, video), stats = expert.apply_train(
                params, before.batch_stats, mel, stack_lower_half(faces), rngs={"dropout": key}
            )
            cosine = losses.cosine_similarity(audio, video)
            if self.config.objective == "info_nce":
                value = losses.info_nce(audio, video, self.config.temperature)
            else:
                value = losses.cosine_bce_loss(audio, video, label.reshape(-1))
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
        index = jnp.arange(count)[:, None] + jnp.arange(FRAMES)
        faces = stack_lower_half(frames[:, index].reshape(-1, FRAMES, *frames.shape[2:]))
        mel = mel_to_nhwc(mel)
        expert = state.networks["expert"]
        audio, video = self.networks["expert"].module.apply(
            expert.variables, mel, faces, train=False
        )
        audio, video = (x.reshape(clips, count, -1) for x in (audio, video))
        cosine = jnp.einsum("cvd,cad->cva", video, audio, precision="highest")
        return {"cosine": cosine, "mask": batch["mask"], "speech": batch["speech"]}

    def aggregate_metrics(self, metrics: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Computes accuracies over the validation clips, see `sync_metrics`."""
        return sync_metrics(metrics["cosine"], metrics["mask"], metrics["speech"])

    def _sample_starts(self, clip: Clip, rng: np.random.Generator, count: int) -> np.ndarray:
        """Samples `count` windows, at least 5 frames apart where the clip is long enough."""
        last = len(clip.frames) - FRAMES
        if last < MIN_NEGATIVE_DISTANCE:
            raise ValueError(
                f"the clip has {len(clip.frames)} frames; the sync expert takes "
                f"{FRAMES + MIN_NEGATIVE_DISTANCE} or more"
            )
        weight = np.where(
            self._feature_cache.speech_activity(clip)[: last + 1],
            1.0,
            self.config.silence_sampling_weight,
        )
        chosen: list[int] = []
        available = weight + 1e-9
        for _ in range(count):
            if not available.any():
                available = weight + 1e-9
            start = int(rng.choice(last + 1, p=available / available.sum()))
            chosen.append(start)
            available[max(0, start - MIN_NEGATIVE_DISTANCE + 1) : start + MIN_NEGATIVE_DISTANCE] = 0
        return np.array(chosen)

    def _sample_negative_start(self, clip: Clip, rng: np.random.Generator, start: int) -> int:
        all_starts = np.arange(len(clip.frames) - FRAMES + 1)
        return int(rng.choice(all_starts[np.abs(all_starts - start) >= MIN_NEGATIVE_DISTANCE]))


def sync_metrics(cosine: np.ndarray, mask: np.ndarray, speech: np.ndarray) -> dict[str, float]:
    """Computes how well an expert separates synced from unsynced windows.

    Negatives are all pairs of one clip at least 5 frames apart. The threshold on the cosine is
    chosen on one half of the clips and applied to the other half, and vice versa, so that no clip
    is evaluated by a threshold chosen on this clip.

    Args:
        cosine: (clips, windows, windows), face by audio.
        mask: bool (clips, windows), windows inside the clip.
        speech: bool (clips, windows), windows with speech.

    Returns:
        loss: binary cross-entropy of the cosine, positives and negatives with equal weight.
        balanced_accuracy: mean of true positive rate and true negative rate, over pairs of
            windows with speech.
        balanced_accuracy_with_silence: balanced accuracy over pairs of all windows.
        offset_accuracy: fraction of clips whose mean cosine over offsets of -15..15 frames is
            highest within one frame of zero.
        threshold: the cosine with the best balanced accuracy over all clips.
    """
    count = cosine.shape[1]
    distance = np.abs(np.arange(count)[:, None] - np.arange(count))
    results = {}
    for name, subset in (("balanced_accuracy", speech), ("balanced_accuracy_with_silence", mask)):
        pairs = subset[:, :, None] & subset[:, None, :]
        positives = pairs & (distance == 0)
        negatives = pairs & (distance >= MIN_NEGATIVE_DISTANCE)
        halves = [slice(0, None, 2), slice(1, None, 2)] if len(cosine) > 1 else [slice(None)] * 2
        scores = []
        for calibration, held_out in (halves, halves[::-1]):
            threshold = _best_threshold(
                cosine[calibration][positives[calibration]],
                cosine[calibration][negatives[calibration]],
            )
            predicted = cosine[held_out] > threshold
            scores.append(
                (predicted[positives[held_out]].mean(), 1 - predicted[negatives[held_out]].mean())
            )
        results[name] = float(np.mean(scores))
        if name == "balanced_accuracy":
            results["threshold"] = _best_threshold(cosine[positives], cosine[negatives])
        else:
            p = np.clip(cosine, 1e-12, 1 - 1e-12)
            results["loss"] = (
                float(-np.log(p[positives]).mean() - np.log(1 - p[negatives]).mean()) / 2
            )
    offsets = np.array([_best_offset(c, i) for c, i in zip(cosine, mask, strict=True)])
    results["offset_accuracy"] = float(np.mean(np.abs(offsets) <= 1))
    return results


def _best_threshold(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Returns the value that maximises the balanced accuracy."""
    values = np.concatenate([positives, negatives])
    weights = np.concatenate(
        [np.full(len(positives), 1 / len(positives)), np.full(len(negatives), -1 / len(negatives))]
    )
    order = np.argsort(values)
    # A threshold of values[k] rejects all positives and negatives up to k.
    return float(values[order][int(np.argmin(np.cumsum(weights[order])))])


def _best_offset(cosine: np.ndarray, mask: np.ndarray) -> int:
    """Returns the offset of audio against video with the highest mean cosine, frames."""
    n = int(mask.sum())
    shifts = range(-min(MAX_OFFSET, n - 1), min(MAX_OFFSET, n - 1) + 1)
    return max(shifts, key=lambda shift: np.diagonal(cosine[:n, :n], shift).mean())


def _first_window(batch: Arrays) -> tuple[jax.Array, jax.Array]:
    faces = stack_lower_half(batch["frames"][:1, 0].astype(jnp.float32) / 255)
    return faces, mel_to_nhwc(batch["audio"][:1, 0])
