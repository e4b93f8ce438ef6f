"""All figures of one clip."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lipsync_jax import faces
from lipsync_jax.evaluation.face_clip import Footage
from lipsync_jax.evaluation.landmarks import Landmarks
from lipsync_jax.evaluation.lip_reading import Reader
from lipsync_jax.evaluation.metrics import acd, blinks, cpbd, fdbm, lipleak, lmd, lse
from lipsync_jax.evaluation.metrics.luminance import luminance
from lipsync_jax.evaluation.metrics.psnr import psnr
from lipsync_jax.evaluation.metrics.ssim import ssim
from lipsync_jax.evaluation.protocol import Protocol
from lipsync_jax.evaluation.sync import offset
from lipsync_jax.evaluation.sync_models import FRAMES, SAMPLES, SYNCNET, Judge
from lipsync_jax.methods.common.validation_metrics import mouth_error
from lipsync_jax.methods.lip_reader.method import mouths

_BATCH = 25  # frames compared at once: one compiled program for clips of all lengths
_MOST_ALIKE = 100.0  # decibels that count for frames which are the same


@dataclasses.dataclass(frozen=True)
class Take:
    """What was seen of one footage.

    Attributes:
        faces: uint8 (n, size, size, 3) BGR, the crops.
        points: float32 (n, 68, 2), landmarks in crop pixels, NaN where no face was found; None
            without a landmark model.
        embeddings: float32 (m, d), of every so-manieth frame; None likewise.
        figures: those that need no reference.
        read: what the lips say; None without a lip reader.
        part: what the crops show, see Footage.
    """

    faces: np.ndarray
    points: np.ndarray | None
    embeddings: np.ndarray | None
    figures: Mapping[str, float]
    read: str | None = None
    part: str = "face"


class Scorer:
    """Looks at footage as a protocol says."""

    def __init__(
        self,
        protocol: Protocol,
        judge: Judge | None,
        landmarks: Landmarks | None,
        reader: Reader | None = None,
    ) -> None:
        """Takes the networks; without one its figures are left out."""
        self.protocol, self.judge, self.landmarks, self.reader = protocol, judge, landmarks, reader

    def take(self, footage: Footage) -> Take:
        """Reads footage once, and computes what needs no reference."""
        size, crops, points, embeddings, lips = self.protocol.crop_size, [], [], [], []
        how = self.protocol.judge_crop
        judged = footage.judged(self.judge, how) if self.judge else None
        shown = footage.judged(self.reader, how) if self.reader else None

        def pictures() -> Iterator[Any]:  # crops for the judge; None without one
            for i, image in enumerate(footage.read()):
                crops.append(footage.crop(image, i, size))
                if self.landmarks and footage.part != "lips":
                    points.append(self._points(image, footage, i))
                    if i % self.protocol.embed_every == 0:
                        embeddings.append(self._embedding(image, footage, i))
                if shown:
                    lips.append(mouths(shown(image, i)[None])[0])
                yield judged(image, i) if judged else None

        if self.judge:
            figures = self._sync(self.judge.lips(pictures()), footage)
        else:
            figures = {}
            for _ in pictures():
                pass
        stacked = np.stack(crops)
        grey = luminance(stacked)
        figures |= {"cpbd": float(cpbd.cpbd(grey).mean()), "fdbm": float(fdbm.fdbm(grey).mean())}
        known = np.stack(points) if points else None
        if known is not None and np.isfinite(known).any():
            found = blinks.blinks(blinks.eye_aspect_ratio(known), self.protocol.frame_rate)
            figures |= {"blink_rate": found.rate, "blink_duration": found.duration}
        read = self.reader.read(lips) if self.reader else None
        embedded = np.stack(embeddings) if embeddings else None
        return Take(stacked, known, embedded, figures, read, footage.part)

    def compare(self, take: Take, real: Take) -> tuple[dict[str, float], np.ndarray | None]:
        """Figures beside a reference, over the frames that both have.

        Returns:
            The figures; and each frame's landmark distance, None without landmarks.
        """
        n = min(len(take.faces), len(real.faces))
        a, b, lips = take.faces[:n], real.faces[:n], real.part == "lips"
        similar = _by_batch(lambda x, y: ssim(x, y, 255, self.protocol.ssim_window), a, b)
        alike = np.minimum(_by_batch(lambda x, y: psnr(x, y, 255), a, b), _MOST_ALIKE)
        figures = {
            "psnr": float(alike.mean()),
            "ssim": float(similar.mean()),
            "mouth_error": float(_by_batch(_error if lips else _mouth_error, a, b).mean()),
        }
        distances = None
        if take.points is not None and real.points is not None:
            true, made = (points[:n, lmd.MOUTH] for points in (real.points, take.points))
            found = lmd.lmd(true, made, self.protocol.lmd)
            distances = found.frames
            figures |= {"lmd": found.value, "landmarks_detected": found.detected}
        if take.embeddings is not None and real.embeddings is not None:
            still = real.embeddings[0]
            for name, distance in (("acd_c", "cosine"), ("acd_e", "euclidean")):
                figures[name] = acd.acd(take.embeddings, still, distance)
        return figures, distances

    def leak(self, silent: Take, driven: Take) -> dict[str, float]:
        """LipLeak of a clip that was generated from silence, beside the driven one."""
        if silent.points is None or driven.points is None:
            return {}
        openings = (lipleak.mouth_opening(points) for points in (silent.points, driven.points))
        return {"lipleak": lipleak.lipleak(*openings)}

    def _sync(self, lips: np.ndarray, footage: Footage) -> dict[str, float]:
        assert self.judge is not None  # `take` asked
        shift = self.protocol.offset_range
        if self.judge.kind != SYNCNET:
            around = footage.samples, footage.first, len(lips), shift
            heard, inside = self.judge.sound_around(*around)
            found = offset.measure(lips, heard, inside, shift)
            return {
                "expert_distance": found.distance,
                "expert_confidence": found.confidence,
                "expert_lag": found.exact,
                "expert_clarity": found.clarity,
                "expert_in_sync": self._in_sync(found.lag, found.clarity),
            }
        # The published reading: one window fewer than there are, and zeros beyond the ends.
        sound = (len(footage.samples) - footage.first) // SAMPLES
        count = min(len(lips) + FRAMES - 1, sound) - FRAMES
        if count < 1:
            raise ValueError(f"it has {sound} frames of sound, too few for SyncNet")
        part = footage.samples[footage.first :][: (len(lips) + FRAMES) * SAMPLES]
        published = lse.lse(lips[:count], self.judge.sound(part, count), shift)
        clarity = published.confidence / (published.confidence + published.distance)
        return {
            "lse_d": published.distance,
            "lse_c": published.confidence,
            "syncnet_lag": -float(published.offset),
            "syncnet_clarity": clarity,
            "syncnet_in_sync": self._in_sync(published.offset, clarity),
        }

    def _in_sync(self, lag: float, clarity: float) -> float:
        """A still mouth has some best offset too, by chance: it must stand out to count."""
        return offset.offset_accuracy([lag]) if clarity >= self.protocol.clear else 0.0

    def _points(self, image: np.ndarray, footage: Footage, place: int) -> np.ndarray:
        if not footage.seen[place]:
            return np.full((68, 2), np.nan, np.float32)
        assert self.landmarks is not None  # `take` asked
        box = footage.boxes[place]
        found = self.landmarks.points(image, _for_landmarks(footage, place))
        # dlib's whole numbers are at pixels' centres, the house's at their corners.
        return faces.to_crop(found + 0.5, box, self.protocol.crop_size)

    def _embedding(self, image: np.ndarray, footage: Footage, place: int) -> np.ndarray:
        if not footage.seen[place]:
            return np.full(128, np.nan, np.float32)
        assert self.landmarks is not None  # `take` asked
        return self.landmarks.embedding(image, _for_landmarks(footage, place))


@jax.jit
def _error(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.mean(jnp.abs(a - b) / 255, axis=(1, 2, 3))


def _mouth_error(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.mean(mouth_error(a / 255, b / 255), axis=(1, 2, 3))


def _for_landmarks(footage: Footage, place: int) -> np.ndarray:
    """The detector's box, or the one that a face crop was cut with, less what lies below a chin."""
    if footage.tight is not None:
        return footage.tight[place]
    x0, y0, x1, y1 = footage.boxes[place]
    return np.array([x0, y0, x1, y1 - (y1 - y0) * faces.CHIN / (1 + faces.CHIN)])


def _by_batch(
    metric: Callable[..., jax.Array | np.ndarray], a: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """A metric of picture pairs, (n, ...) -> (n,), by batches that are filled up."""
    missing = [(0, -len(a) % _BATCH), (0, 0), (0, 0), (0, 0)]
    a, b = (np.pad(x, missing) for x in (a, b))
    parts = [metric(a[i : i + _BATCH], b[i : i + _BATCH]) for i in range(0, len(a), _BATCH)]
    found = np.concatenate([np.asarray(part, np.float64) for part in parts])
    return found[: len(found) - missing[0][1]]
