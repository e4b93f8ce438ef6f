"""The lip-sync expert of Wav2Lip (Prajwal et al. 2020, section 3.1): do these lips say this sound?

Two encoders, one for 5 frames of the lower face, one for 0.2 s of mel, and the cosine of their
outputs. `loss = "cosine_bce"` is the published one (binary cross-entropy of the cosine);
`"contrastive"` compares every picture of a batch with every sound (symmetric InfoNCE), which
learns much from little data.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax import losses
from lipsync_jax.data import augment, windows
from lipsync_jax.data.clip import GEOMETRIES, Clip, decode_frames
from lipsync_jax.data.feature_cache import MelCache
from lipsync_jax.methods.base import Arrays, Method, Player, State, adam, fresh_state, global_norm
from lipsync_jax.methods.wav2lip.model import SyncExpert
from lipsync_jax.nn.conv import stack_frames
from lipsync_jax.types import Cards, Tree

FRAMES = windows.SYNC_FRAMES
SHIFTS = 15  # frames either way, the range of SyncNet's offset search
MIN_NEGATIVE_DISTANCE = 5  # frames; nearer windows share frames with the true one


def make(config: ml_collections.ConfigDict, cards: Cards) -> "SyncExpertMethod":
    """The method of a config."""
    return SyncExpertMethod(config, cards)


def network(config: ml_collections.ConfigDict) -> SyncExpert:
    """The expert that a config describes."""
    return SyncExpert(
        image_size=GEOMETRIES[config.data.geometry].height,
        dtype=jnp.dtype(config.precision),
        **config.model,
    )


def stack_lower_half(faces: jax.Array) -> jax.Array:
    """Windows of whole faces as the expert sees them.

    Args:
        faces: (n, 5, size, size, 3) BGR in [0, 1].

    Returns:
        (n, size / 2, size, 15): rows below the middle, channel 3 * frame + colour.
    """
    return stack_frames(faces[:, :, faces.shape[2] // 2 :])


def as_audio(mel: jax.Array) -> jax.Array:
    """Mel windows as the encoders take them: (..., 16, 80) -> (n, 80, 16, 1)."""
    return windows.as_images(mel.reshape(-1, *mel.shape[-2:]))


class SyncExpertMethod(Method):
    """One player, `expert`."""

    best = ("balanced_accuracy", 1)

    def __init__(self, config: ml_collections.ConfigDict, cards: Cards) -> None:
        super().__init__(config, cards)
        self.players = {"expert": Player(network(config), adam(config.optimiser))}
        self._mels = MelCache()

    def check(self) -> None:
        """See Method."""
        if self.config.loss not in ("cosine_bce", "contrastive"):
            raise ValueError(
                f"config.loss={self.config.loss!r}: choose 'cosine_bce' or 'contrastive'"
            )
        if self.config.negatives not in ("same_clip", "other_clips", "mixed"):
            raise ValueError(
                f"config.negatives={self.config.negatives!r}: choose 'same_clip', 'other_clips' "
                "or 'mixed'"
            )

    def example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Some windows of one clip.

        Returns:
            faces: uint8 (windows, 5, size, size, 3), BGR.
            mel: float32 (windows, 16, 80).
            label: float32 (windows,), 1 where they belong together.
            other: bool (windows,), true where the sound is to come from another clip.
        """
        count = self.config.windows_per_clip
        starts = self._starts(clip, rng, count)
        mel = windows.take_windows(
            self._mels.mel(clip), windows.mel_window_start(starts, clip.frame_rate)
        )
        label, other, shown = np.ones(count, np.float32), np.zeros(count, bool), starts.copy()
        if self.config.loss == "cosine_bce":
            label = rng.integers(0, 2, count).astype(np.float32)
            kind = {"same_clip": 0.0, "other_clips": 1.0, "mixed": 0.5}[self.config.negatives]
            other = (label == 0) & (rng.random(count) < kind)
            for i in np.flatnonzero((label == 0) & ~other):
                shown[i] = self._elsewhere(clip, rng, starts[i])
        frames = decode_frames(clip, (shown[:, None] + np.arange(FRAMES)).ravel())
        frames = augment.augment_faces(frames, rng, self.config.augment)
        return {
            "faces": frames.reshape(count, FRAMES, *frames.shape[1:]),
            "mel": augment.augment_mel(mel, rng, self.config.augment),
            "label": label,
            "other": other,
        }

    def validation_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """All windows of a clip, up to `config.data.validation_frames`, filled up to that length.

        Returns:
            frames: uint8 (validation_frames, size, size, 3).
            mel: float32 (validation_frames - 4, 16, 80).
            inside: bool (validation_frames - 4,), the windows that exist.
            speech: bool (validation_frames - 4,), those with speech in most of their frames.
        """
        total = self.config.data.validation_frames
        count = min(total, len(clip.frames))
        frames = decode_frames(clip, range(count))
        starts = windows.mel_window_start(np.arange(total - FRAMES + 1), clip.frame_rate)
        inside = np.arange(total - FRAMES + 1) <= count - FRAMES
        speech = np.zeros(len(inside), bool)
        active = self._mels.speech(clip)[:count]
        runs = np.lib.stride_tricks.sliding_window_view(active, FRAMES).mean(axis=1) > 0.5
        speech[: len(runs)] = runs
        return {
            "frames": np.concatenate([frames, np.repeat(frames[-1:], total - count, axis=0)]),
            "mel": windows.take_windows(self._mels.mel(clip), starts),
            "inside": inside,
            "speech": speech & inside,
        }

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """See Method."""
        faces, mel = _first_window(batch)
        variables = self.players["expert"].module.init(key, mel, faces, train=False)
        return fresh_state(key, {"expert": self.players["expert"].start(variables)})

    def update(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """One step on windows of several clips."""
        mel, label = batch["mel"], batch["label"]
        # The neighbour in the batch is another clip; its sound replaces this one's.
        mel = jnp.where(batch["other"][..., None, None], jnp.roll(mel, 1, axis=0), mel)
        mel = as_audio(mel)
        faces = batch["faces"].reshape(-1, *batch["faces"].shape[2:]).astype(jnp.float32) / 255
        player, before = self.players["expert"], state.players["expert"]

        def loss(params: Tree) -> tuple[jax.Array, Tree]:
            (audio, video), stats = player.train(
                params, before.batch_stats, mel, stack_lower_half(faces), rngs={"dropout": key}
            )
            cosine = losses.cosine_similarity(audio, video)
            if self.config.loss == "contrastive":
                value = losses.contrastive(audio, video, self.config.temperature)
            else:
                value = losses.cosine_bce(audio, video, label.reshape(-1))
            return value, (stats, cosine)

        (value, (stats, cosine)), grads = jax.value_and_grad(loss, has_aux=True)(before.params)
        after = player.learn(before, grads, stats)
        scalars = {
            "loss": value,
            "cosine": jnp.mean(cosine),
            "cosine_spread": jnp.std(cosine),
            "gradient_norm": global_norm(grads),
        }
        return state.replace_players(expert=after), scalars

    def measure(self, state: State, batch: Arrays) -> Arrays:
        """Cosines of every window's picture with every window's sound of the same clip."""
        frames, mel = batch["frames"].astype(jnp.float32) / 255, batch["mel"]
        clips, count = mel.shape[:2]
        index = jnp.arange(count)[:, None] + jnp.arange(FRAMES)
        faces = stack_lower_half(frames[:, index].reshape(-1, FRAMES, *frames.shape[2:]))
        mel = as_audio(mel)
        expert = state.players["expert"]
        audio, video = self.players["expert"].module.apply(
            expert.variables, mel, faces, train=False
        )
        audio, video = (x.reshape(clips, count, -1) for x in (audio, video))
        cosine = jnp.einsum("cvd,cad->cva", video, audio, precision="highest")
        return {"cosine": cosine, "inside": batch["inside"], "speech": batch["speech"]}

    def summarise(self, measured: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Accuracies over the validation clips; see `accuracies`."""
        return accuracies(measured["cosine"], measured["inside"], measured["speech"])

    def _starts(self, clip: Clip, rng: np.random.Generator, count: int) -> np.ndarray:
        """`count` windows, at least 5 frames apart as far as the clip has room for that."""
        last = len(clip.frames) - FRAMES
        if last < MIN_NEGATIVE_DISTANCE:
            raise ValueError(
                f"it has {len(clip.frames)} frames, too few for {FRAMES}-frame windows"
            )
        weight = np.where(self._mels.speech(clip)[: last + 1], 1.0, self.config.silence_weight)
        chosen: list[int] = []
        free = weight + 1e-9
        for _ in range(count):
            if not free.any():
                free = weight + 1e-9
            start = int(rng.choice(last + 1, p=free / free.sum()))
            chosen.append(start)
            free[max(0, start - MIN_NEGATIVE_DISTANCE + 1) : start + MIN_NEGATIVE_DISTANCE] = 0
        return np.array(chosen)

    def _elsewhere(self, clip: Clip, rng: np.random.Generator, start: int) -> int:
        all_starts = np.arange(len(clip.frames) - FRAMES + 1)
        return int(rng.choice(all_starts[np.abs(all_starts - start) >= MIN_NEGATIVE_DISTANCE]))


def accuracies(cosine: np.ndarray, inside: np.ndarray, speech: np.ndarray) -> dict[str, float]:
    """How well an expert tells sync from no sync.

    Negatives are all pairs of one clip at least 5 frames apart. The threshold on the cosine is
    chosen on one half of the clips and applied to the other, then the halves change places, so
    no clip is judged by a threshold it helped to choose.

    Args:
        cosine: (clips, windows, windows), picture by sound.
        inside: bool (clips, windows), windows that exist.
        speech: bool (clips, windows), windows with speech.

    Returns:
        loss: binary cross-entropy of the cosine, true pairs and negatives weighed the same.
        balanced_accuracy: mean of the rates of true pairs accepted and negatives refused, both
            windows with speech.
        balanced_accuracy_all: the same over all windows, silence included.
        offset_accuracy: share of clips whose best mean cosine over shifts of -15..15 frames is
            at most one frame from zero.
        threshold: the cosine that splits best over all clips.
    """
    count = cosine.shape[1]
    distance = np.abs(np.arange(count)[:, None] - np.arange(count))
    results = {}
    for name, mask in (("balanced_accuracy", speech), ("balanced_accuracy_all", inside)):
        pairs = mask[:, :, None] & mask[:, None, :]
        true = pairs & (distance == 0)
        false = pairs & (distance >= MIN_NEGATIVE_DISTANCE)
        halves = [slice(0, None, 2), slice(1, None, 2)] if len(cosine) > 1 else [slice(None)] * 2
        scores = []
        for chosen, judged in (halves, halves[::-1]):
            threshold = _best_threshold(cosine[chosen][true[chosen]], cosine[chosen][false[chosen]])
            accepted = cosine[judged] > threshold
            scores.append((accepted[true[judged]].mean(), 1 - accepted[false[judged]].mean()))
        results[name] = float(np.mean(scores))
        if name == "balanced_accuracy":
            results["threshold"] = _best_threshold(cosine[true], cosine[false])
        else:
            p = np.clip(cosine, 1e-12, 1 - 1e-12)
            results["loss"] = float(-np.log(p[true]).mean() - np.log(1 - p[false]).mean()) / 2
    offsets = np.array([_offset(c, i) for c, i in zip(cosine, inside, strict=True)])
    results["offset_accuracy"] = float(np.mean(np.abs(offsets) <= 1))
    return results


def _best_threshold(true: np.ndarray, false: np.ndarray) -> float:
    """The value that maximises the balanced accuracy."""
    values = np.concatenate([true, false])
    weights = np.concatenate(
        [np.full(len(true), 1 / len(true)), np.full(len(false), -1 / len(false))]
    )
    order = np.argsort(values)
    # Accepting what lies above values[k] loses the true pairs up to k and refuses the false ones.
    return float(values[order][int(np.argmin(np.cumsum(weights[order])))])


def _offset(cosine: np.ndarray, inside: np.ndarray) -> int:
    """The shift of the sound against the picture with the highest mean cosine."""
    n = int(inside.sum())
    shifts = range(-min(SHIFTS, n - 1), min(SHIFTS, n - 1) + 1)
    return max(shifts, key=lambda shift: np.diagonal(cosine[:n, :n], shift).mean())


def _first_window(batch: Arrays) -> tuple[jax.Array, jax.Array]:
    faces = stack_lower_half(batch["faces"][:1, 0].astype(jnp.float32) / 255)
    return faces, as_audio(batch["mel"][:1, 0])
