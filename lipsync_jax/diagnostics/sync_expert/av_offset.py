"""Do pictures and sound of a data set belong together, and at which offset? Without a network.

Canonical correlations of lips and sound (Slaney & Covell 2000, "FaceSync") are fitted on one half
of the clips at every offset and judged on the other, then the halves change places. Recordings
resemble each other: each begins and ends in silence. So what counts is the excess over the
correlation with the sound of other clips; where nothing belongs together it is zero everywhere.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from lipsync_jax.diagnostics.findings import FAULT, NOTE, OK, SKIPPED, Finding
from lipsync_jax.diagnostics.sync_expert.clip_stats import RATE, Observed

SHIFTS = 15  # moments either way, the range of SyncNet's offset search
LEAST_CLIPS = 8
SURE = 5.0  # standard errors of the excess that tell it from chance, the best of 31 offsets
_CHANCE = 4.0  # unrelated sound stays below it; between the two nothing is said
TOLERANCE_MS = 60.0  # one and a half frames of 25 a second
SHUFFLED, AUDIO_SHIFTED = "swapped pairs", "audio shifted"

_LIPS, _SOUND, _PAIRS = 16, 12, 3  # principal components, and pairs of canonical ones
_STRANGERS = 4  # clips whose sound each clip is compared with
_WEAK = 0.75  # excess; GRID has 0.9, rendered faces 1.0 to 1.6, so less than that would be seen
_RIDGE = 0.01  # of the mean variance
_LEAST_TO_ACCUSE = 12  # clips; of fewer, clips in sync may look unrelated
_LEAST_MOMENTS = 20
_BARS = "▁▂▃▄▅▆▇█"


@dataclasses.dataclass(frozen=True)
class Pairing:
    """What was found.

    Attributes:
        excess: (clips, 31), correlation with the own sound, over that with strangers', at offsets
            of -15..15 moments of 40 ms; positive offsets are of sound that comes late.
    """

    excess: np.ndarray

    @property
    def best(self) -> int:
        """Index of the offset with the highest mean excess."""
        return int(self.excess.mean(axis=0).argmax())

    @property
    def mean(self) -> float:
        """Mean over the clips of the excess at the best offset."""
        return float(self.excess[:, self.best].mean())

    @property
    def error(self) -> float:
        """The standard error of that mean."""
        values = self.excess[:, self.best]
        return float(values.std(ddof=1) / np.sqrt(len(values))) + 1e-9

    @property
    def lag_ms(self) -> float:
        """Milliseconds by which the sound comes after the picture, to a part of a frame."""
        mean, best = self.excess.mean(axis=0), self.best
        fraction = 0.0
        if 0 < best < len(mean) - 1:
            before, here, after = mean[best - 1 : best + 2]
            fraction = (before - after) / (2 * (before - 2 * here + after) - 1e-12)
        return 1000 / RATE * (best - SHIFTS + fraction)

    @property
    def histogram(self) -> np.ndarray:
        """How many clips fit best at each offset, each by itself; int (31,)."""
        return np.bincount(self.excess.argmax(axis=1), minlength=2 * SHIFTS + 1)

    @property
    def agreeing(self) -> float:
        """Share of clips that by themselves fit best within two moments of the common offset."""
        return float(np.mean(np.abs(self.excess.argmax(axis=1) - self.best) <= 2))


def check(observed: Sequence[Observed]) -> Finding:
    """Names sound that is shifted or of other clips."""
    usable = [
        each
        for each in observed
        if len(each.lips) >= 2 * SHIFTS + 5 and each.motion and each.speech
    ]
    unlike = list({each.fingerprint: each for each in usable}.values())
    if len(unlike) < LEAST_CLIPS:
        return Finding(
            "pairs",
            SKIPPED,
            f"{len(unlike)} different clips of 1.4 s or more have moving lips and speech; "
            f"{LEAST_CLIPS} are needed",
            "Whether the sound fits the pictures can't be told from these clips.",
        )
    pairing = measure([each.lips for each in unlike], [each.sound for each in unlike])
    lag, sure = pairing.lag_ms, pairing.mean / pairing.error
    figures = {
        "clips": len(unlike),
        "lag_ms": round(lag, 1),
        "standard_errors": round(sure, 1),
        "excess": [round(float(x), 4) for x in pairing.excess.mean(axis=0)],
        "offsets_of_clips": pairing.histogram.tolist(),
    }
    blind = len(unlike) < _LEAST_TO_ACCUSE or SURE * pairing.error > _WEAK
    if sure < SURE and (blind or sure > _CHANCE):
        return Finding(
            "pairs",
            SKIPPED,
            f"the lips of {len(unlike)} clips fit their own sound by {sure:.1f} standard errors "
            f"better than other clips' at the best offset; {SURE:g} would be sure",
            "The clips are too few or too noisy to tell whether sound and pictures fit.",
            figures=figures,
        )
    if sure < SURE:
        return Finding(
            "pairs",
            FAULT,
            f"over offsets of ±{1000 * SHIFTS // RATE} ms the lips of {len(unlike)} clips fit "
            f"their own sound no better than other clips' ({sure:.1f} standard errors at best; "
            f"{SURE:g} would be sure)",
            "The pictures of a clip and its sound are not of the same moment of the same "
            "recording, so there is nothing to learn and the loss stays at chance.",
            "Play some clips; pair each video with its own sound and write the shards again with "
            "`lipsync prepare`.",
            SHUFFLED,
            figures,
        )
    seen = (
        f"{pairing.agreeing:.0%} of {len(unlike)} clips agree, {sure:.0f} standard errors over "
        f"chance; clips at -600..600 ms: {_bars(pairing.histogram)}"
    )
    amount = f"{abs(lag):.0f} ms"
    if abs(lag) > TOLERANCE_MS:
        return Finding(
            "pairs",
            FAULT,
            f"lips fit best the sound that comes {amount} {'later' if lag > 0 else 'earlier'} "
            f"({seen})",
            f"The sound of the data set is {amount} {'late' if lag > 0 else 'early'}, so each "
            "true pair that the expert is shown is a false one.",
            f"Move the sound by {-lag:+.0f} ms: look for a start time or a delay that was lost "
            "when the videos were cut, then write the shards again.",
            AUDIO_SHIFTED,
            figures,
        )
    in_sync = f"sound and lips fit best at {lag:+.0f} ms ({seen})"
    if pairing.agreeing < 0.5:
        return Finding(
            "pairs",
            NOTE,
            in_sync,
            "Fewer than half of the clips by themselves show that they are in sync: they are "
            "noisy, or some of them are off.",
            "Look at the clips whose offsets differ: `lipsync sync VIDEO` measures one.",
            figures=figures,
        )
    return Finding("pairs", OK, in_sync, "Pictures and sound belong together.", figures=figures)


def measure(lips: Sequence[np.ndarray], sound: Sequence[np.ndarray]) -> Pairing:
    """Correlates lips and sound over offsets.

    Args:
        lips: (moments, d) of each clip; moments may differ from clip to clip.
        sound: (moments, e) of each clip, at the same moments.

    Returns:
        See Pairing. Offsets at which a clip has under 20 moments count as no excess.
    """
    shown, heard = _padded(_principal(lips, _LIPS)), _padded(_principal(sound, _SOUND))
    halves = [np.arange(0, len(shown), 2), np.arange(1, len(shown), 2)]
    excess = np.zeros((len(shown), 2 * SHIFTS + 1))
    for k, shift in enumerate(range(-SHIFTS, SHIFTS + 1)):
        x, y = _moved(shown, heard, shift)
        for fitted, judged in (halves, halves[::-1]):
            a, b = _canonical(x[fitted], y[fitted])
            u, v = x[judged] @ a, y[judged] @ b
            strangers = [
                _correlation(u, np.roll(v, n + 1, axis=0))
                for n in range(min(_STRANGERS, len(judged) - 1))
            ]
            excess[judged, k] = _correlation(u, v) - np.mean(strangers, axis=0)
    return Pairing(excess)


def _principal(series: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    """Each series about its own mean, in the common principal components."""
    centred = [np.asarray(each, np.float64) - np.mean(each, axis=0) for each in series]
    rows = np.concatenate(centred)
    _, vectors = np.linalg.eigh(rows.T @ rows)
    return [each @ vectors[:, : -count - 1 : -1] for each in centred]


def _padded(series: Sequence[np.ndarray]) -> np.ndarray:
    """(clips, moments, d), NaN behind the ends."""
    longest = max(map(len, series))
    return np.stack(
        [
            np.pad(each, ((0, longest - len(each)), (0, 0)), constant_values=np.nan)
            for each in series
        ]
    )


def _moved(lips: np.ndarray, sound: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Lips with the sound `shift` moments later, each about its mean over what overlaps."""
    count = lips.shape[1] - abs(shift)
    x, y = lips[:, max(0, -shift) :][:, :count], sound[:, max(0, shift) :][:, :count]
    return _centred(x), _centred(y)


def _centred(x: np.ndarray) -> np.ndarray:
    known = np.isfinite(x)
    mean = np.where(known, x, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return x - mean[:, None]


def _canonical(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directions of the highest correlations, (d, 3) and (e, 3)."""
    x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
    known = np.isfinite(x[:, 0]) & np.isfinite(y[:, 0])
    x, y = x[known], y[known]
    white_x, white_y = _whitening(x), _whitening(y)
    u, _, v = np.linalg.svd(white_x.T @ (x.T @ y / len(x)) @ white_y)
    return white_x @ u[:, :_PAIRS], white_y @ v.T[:, :_PAIRS]


def _whitening(x: np.ndarray) -> np.ndarray:
    covariance = x.T @ x / len(x)
    ridge = _RIDGE * np.trace(covariance) / len(covariance) + 1e-9
    return np.linalg.inv(np.linalg.cholesky(covariance + ridge * np.eye(len(covariance)))).T


def _correlation(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Sum over the pairs of components of each clip's correlation, (clips,)."""
    known = np.isfinite(u) & np.isfinite(v)
    u, v = np.where(known, u, 0), np.where(known, v, 0)
    products = (u * v).sum(axis=1) / np.sqrt((u * u).sum(axis=1) * (v * v).sum(axis=1) + 1e-9)
    return np.where(known.sum(axis=1) >= _LEAST_MOMENTS, products, 0).sum(axis=-1)


def _bars(counts: np.ndarray) -> str:
    top = max(int(counts.max()), 1)
    return "".join("·" if not n else _BARS[(int(n) * (len(_BARS) - 1)) // top] for n in counts)
