"""Audio-visual offset of a data set by canonical correlation, without a network.

Canonical correlations of lips and audio (Slaney & Covell 2000, "FaceSync") are fitted on one half
of the clips at every offset and evaluated on the other half, and vice versa. Recordings resemble
each other, since each begins and ends in silence. The statistic is therefore the margin over the
correlation with the audio of other clips; the margin of unrelated audio is zero at every offset.

Offsets are positive where the audio is later than the video.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from lipsync_jax.diagnostics.findings import FAULT, NOTE, OK, SKIPPED, Finding
from lipsync_jax.diagnostics.sync_expert.clip_stats import RATE, ClipStats
from lipsync_jax.types import Json

MAX_SHIFT = 15  # moments in both directions, the range of SyncNet's offset search
MIN_CLIPS = 8
Z_THRESHOLD = 5.0  # standard errors of the margin that are significant, best of 31 offsets
_Z_CHANCE = 4.0  # unrelated audio stays below; between the thresholds there is no result
TOLERANCE_MS = 60.0  # one and a half frames of 25 a second
SHUFFLED, AUDIO_SHIFTED = "swapped pairs", "audio shifted"

_NUM_LIP_COMPONENTS, _NUM_AUDIO_COMPONENTS = 16, 12  # principal components
_NUM_CANONICAL_PAIRS = 3  # pairs of canonical components
_NUM_MISMATCHED_CLIPS = 4  # other clips with whose audio each clip is compared
_MIN_MARGIN = 0.75  # that must be detectable; GRID has 0.9, rendered faces 1.0 to 1.6
_RIDGE = 0.01  # of the mean variance
_MIN_CLIPS_FOR_FAULT = 12  # with fewer, clips in sync may look unrelated
_MIN_MOMENTS = 20
_BARS = "▁▂▃▄▅▆▇█"


@dataclasses.dataclass(frozen=True)
class AVCorrelation:
    """Correlation of lips and audio over offsets.

    Attributes:
        margin: (clips, 31), correlation with a clip's own audio minus that with other clips'
            audio, at offsets of -15..15 moments of 40 ms; positive: audio later than video.
    """

    margin: np.ndarray

    @property
    def best(self) -> int:
        """Returns the index of the offset with the highest mean margin."""
        return int(self.margin.mean(axis=0).argmax())

    @property
    def mean(self) -> float:
        """Returns the mean margin of the clips at the best offset."""
        return float(self.margin[:, self.best].mean())

    @property
    def standard_error(self) -> float:
        """Returns the standard error of `mean`."""
        values = self.margin[:, self.best]
        return float(values.std(ddof=1) / np.sqrt(len(values))) + 1e-9

    @property
    def offset_ms(self) -> float:
        """Returns the offset in milliseconds, interpolated; positive: audio later than video."""
        mean, best = self.margin.mean(axis=0), self.best
        fraction = 0.0
        if 0 < best < len(mean) - 1:
            before, centre, after = mean[best - 1 : best + 2]
            fraction = (before - after) / (2 * (before - 2 * centre + after) - 1e-12)
        return 1000 / RATE * (best - MAX_SHIFT + fraction)

    @property
    def histogram(self) -> np.ndarray:
        """Returns the number of clips with their own best offset at each offset, int (31,)."""
        return np.bincount(self.margin.argmax(axis=1), minlength=2 * MAX_SHIFT + 1)

    @property
    def agreement(self) -> float:
        """Returns the fraction of clips whose own best offset is within two moments of the best."""
        return float(np.mean(np.abs(self.margin.argmax(axis=1) - self.best) <= 2))


def check(stats: Sequence[ClipStats]) -> Finding:
    """Checks for audio that is shifted or belongs to other clips."""
    usable = [
        each
        for each in stats
        if len(each.lips) >= 2 * MAX_SHIFT + 5 and each.motion and each.speech
    ]
    distinct = list({each.fingerprint: each for each in usable}.values())
    if len(distinct) < MIN_CLIPS:
        return Finding(
            "pairs",
            SKIPPED,
            f"{len(distinct)} different clips of 1.4 s or more have moving lips and speech; "
            f"{MIN_CLIPS} are needed",
            "These clips are not enough to check whether audio and video match.",
        )
    correlation = correlate([each.lips for each in distinct], [each.audio for each in distinct])
    z_score = correlation.mean / correlation.standard_error
    metrics = {
        "clips": len(distinct),
        "offset_ms": round(correlation.offset_ms, 1),
        "z_score": round(z_score, 1),
        "margin": [round(float(x), 4) for x in correlation.margin.mean(axis=0)],
        "histogram": correlation.histogram.tolist(),
    }
    find = _unrelated_finding if z_score < Z_THRESHOLD else _offset_finding
    return find(correlation, z_score, metrics)


def _unrelated_finding(
    correlation: AVCorrelation, z_score: float, metrics: Mapping[str, Json]
) -> Finding:
    """Returns the finding where no offset is significant: unrelated audio, or no result."""
    clips = len(correlation.margin)
    underpowered = (
        clips < _MIN_CLIPS_FOR_FAULT or Z_THRESHOLD * correlation.standard_error > _MIN_MARGIN
    )
    if underpowered or z_score > _Z_CHANCE:
        return Finding(
            "pairs",
            SKIPPED,
            f"the lips of {clips} clips correlate with their own audio by {z_score:.1f} "
            f"standard errors more than with other clips' at the best offset; {Z_THRESHOLD:g} "
            "would be significant",
            "The clips are too few or too noisy to check whether audio and video match.",
            metrics=metrics,
        )
    return Finding(
        "pairs",
        FAULT,
        f"at offsets of ±{1000 * MAX_SHIFT // RATE} ms the lips of {clips} clips "
        f"correlate with their own audio no more than with other clips' ({z_score:.1f} "
        f"standard errors at best; {Z_THRESHOLD:g} would be significant)",
        "Audio and video of a clip are not of one moment of one recording, so there is nothing "
        "to learn and the loss stays at chance.",
        "Play some clips; pair each video with its own audio and write the shards again with "
        "`lipsync prepare`.",
        SHUFFLED,
        metrics,
    )


def _offset_finding(
    correlation: AVCorrelation, z_score: float, metrics: Mapping[str, Json]
) -> Finding:
    """Returns the finding where an offset is significant."""
    offset_ms = correlation.offset_ms
    summary = (
        f"{correlation.agreement:.0%} of {len(correlation.margin)} clips agree, {z_score:.0f} "
        f"standard errors over chance; clips at -600..600 ms: {_sparkline(correlation.histogram)}"
    )
    amount = f"{abs(offset_ms):.0f} ms"
    if abs(offset_ms) > TOLERANCE_MS:
        return Finding(
            "pairs",
            FAULT,
            f"the audio that matches the lips best is {amount} "
            f"{'later' if offset_ms > 0 else 'earlier'} ({summary})",
            f"The audio of the data set is {amount} {'late' if offset_ms > 0 else 'early'}, so "
            "every positive pair of the expert is a negative one.",
            f"Shift the audio by {-offset_ms:+.0f} ms: look for a start time or a delay that was "
            "lost when the videos were cut, then write the shards again.",
            AUDIO_SHIFTED,
            metrics,
        )
    in_sync = f"audio and lips match best at {offset_ms:+.0f} ms ({summary})"
    if correlation.agreement < 0.5:
        return Finding(
            "pairs",
            NOTE,
            in_sync,
            "Fewer than half of the clips have the common offset: the clips are noisy, or some are "
            "out of sync.",
            "Check the clips whose offsets differ: `lipsync sync VIDEO` measures one video.",
            metrics=metrics,
        )
    return Finding("pairs", OK, in_sync, "Audio and video match.", metrics=metrics)


def correlate(lips: Sequence[np.ndarray], audio: Sequence[np.ndarray]) -> AVCorrelation:
    """Correlates lips and audio over offsets.

    Args:
        lips: (moments, d) of each clip; numbers of moments may differ.
        audio: (moments, e) of each clip, at the same moments.

    Returns:
        The correlation; a clip's margin is 0 at offsets with less than 20 common moments.
    """
    lip_components, audio_components = (
        _pad_with_nan(_principal_components(lips, _NUM_LIP_COMPONENTS)),
        _pad_with_nan(_principal_components(audio, _NUM_AUDIO_COMPONENTS)),
    )
    fold_indices = [np.arange(0, len(lip_components), 2), np.arange(1, len(lip_components), 2)]
    margin = np.zeros((len(lip_components), 2 * MAX_SHIFT + 1))
    for k, shift in enumerate(range(-MAX_SHIFT, MAX_SHIFT + 1)):
        x, y = _shift_audio(lip_components, audio_components, shift)
        for fit_index, eval_index in (fold_indices, fold_indices[::-1]):
            a, b = _canonical_directions(x[fit_index], y[fit_index])
            u, v = x[eval_index] @ a, y[eval_index] @ b
            mismatched = [
                _correlation(u, np.roll(v, n + 1, axis=0))
                for n in range(min(_NUM_MISMATCHED_CLIPS, len(eval_index) - 1))
            ]
            margin[eval_index, k] = _correlation(u, v) - np.mean(mismatched, axis=0)
    return AVCorrelation(margin)


def _principal_components(series: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    """Projects each series, about its own mean, on the common principal components."""
    centred = [np.asarray(each, np.float64) - np.mean(each, axis=0) for each in series]
    rows = np.concatenate(centred)
    _, vectors = np.linalg.eigh(rows.T @ rows)
    return [each @ vectors[:, : -count - 1 : -1] for each in centred]


def _pad_with_nan(series: Sequence[np.ndarray]) -> np.ndarray:
    """Pads and stacks series to (clips, moments, d), with NaN after their ends."""
    longest = max(map(len, series))
    return np.stack(
        [
            np.pad(each, ((0, longest - len(each)), (0, 0)), constant_values=np.nan)
            for each in series
        ]
    )


def _shift_audio(lips: np.ndarray, audio: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the overlap of lips with the audio `shift` moments later, both of zero mean."""
    count = lips.shape[1] - abs(shift)
    x, y = lips[:, max(0, -shift) :][:, :count], audio[:, max(0, shift) :][:, :count]
    return _centre(x), _centre(y)


def _centre(x: np.ndarray) -> np.ndarray:
    is_valid = np.isfinite(x)
    mean = np.where(is_valid, x, 0).sum(axis=1) / np.maximum(is_valid.sum(axis=1), 1)
    return x - mean[:, None]


def _canonical_directions(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the directions of the highest correlations, (d, 3) and (e, 3)."""
    x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
    is_valid = np.isfinite(x[:, 0]) & np.isfinite(y[:, 0])
    x, y = x[is_valid], y[is_valid]
    white_x, white_y = _whitening(x), _whitening(y)
    u, _, v = np.linalg.svd(white_x.T @ (x.T @ y / len(x)) @ white_y)
    return white_x @ u[:, :_NUM_CANONICAL_PAIRS], white_y @ v.T[:, :_NUM_CANONICAL_PAIRS]


def _whitening(x: np.ndarray) -> np.ndarray:
    covariance = x.T @ x / len(x)
    ridge = _RIDGE * np.trace(covariance) / len(covariance) + 1e-9
    return np.linalg.inv(np.linalg.cholesky(covariance + ridge * np.eye(len(covariance)))).T


def _correlation(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Computes each clip's correlation, summed over the pairs of components, (clips,)."""
    is_valid = np.isfinite(u) & np.isfinite(v)
    u, v = np.where(is_valid, u, 0), np.where(is_valid, v, 0)
    products = (u * v).sum(axis=1) / np.sqrt((u * u).sum(axis=1) * (v * v).sum(axis=1) + 1e-9)
    return np.where(is_valid.sum(axis=1) >= _MIN_MOMENTS, products, 0).sum(axis=-1)


def _sparkline(counts: np.ndarray) -> str:
    top = max(int(counts.max()), 1)
    return "".join("·" if not n else _BARS[(int(n) * (len(_BARS) - 1)) // top] for n in counts)
