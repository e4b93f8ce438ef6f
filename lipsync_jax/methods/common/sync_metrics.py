"""Validation metrics of a sync expert, from cosines of faces and audio."""

import numpy as np

MAX_OFFSET = 15  # frames either way, the range of SyncNet's offset search


def sync_metrics(
    cosine: np.ndarray, mask: np.ndarray, speech: np.ndarray, window_frames: int
) -> dict[str, float]:
    """Computes how well an expert separates synced from unsynced windows.

    Negatives are all pairs of one clip that do not overlap. The threshold on the cosine is
    chosen on one half of the clips and applied to the other half, and vice versa, so that no clip
    is evaluated by a threshold chosen on this clip.

    Args:
        cosine: (clips, windows, windows), face by audio.
        mask: bool (clips, windows), windows inside the clip.
        speech: bool (clips, windows), windows with speech.
        window_frames: frames of a window.

    Returns:
        cosine_cross_entropy: binary cross-entropy of the cosine, positives and negatives with equal
            weight; comparable with the training loss for the objective `cosine_bce` alone.
        balanced_accuracy: mean of true positive rate and true negative rate, over pairs of
            windows with speech.
        balanced_accuracy_with_silence: balanced accuracy over pairs of all windows.
        offset_accuracy: fraction of clips whose mean cosine over offsets of -15..15 frames is
            highest within one frame of zero.
        threshold: the cosine with the best balanced accuracy over all clips.

    Raises:
        ValueError: too few clips have pairs of windows with speech.
    """
    count = cosine.shape[1]
    distance = np.abs(np.arange(count)[:, None] - np.arange(count))
    results = {}
    for name, subset in (("balanced_accuracy", speech), ("balanced_accuracy_with_silence", mask)):
        pairs = subset[:, :, None] & subset[:, None, :]
        positives = pairs & (distance == 0)
        negatives = pairs & (distance >= window_frames)
        halves = [slice(0, None, 2), slice(1, None, 2)] if len(cosine) > 1 else [slice(None)] * 2
        if not all(kind[half].any() for kind in (positives, negatives) for half in halves):
            usable = int(negatives.any(axis=(1, 2)).sum())
            what = " with speech" if name == "balanced_accuracy" else ""
            raise ValueError(
                f"{usable} of {len(cosine)} validation clips have two windows of {window_frames} "
                f"frames{what} that do not overlap, which are too few; prepare more or longer "
                "videos of speech for validation"
            )
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
            results["cosine_cross_entropy"] = (
                float(-np.log(p[positives]).mean() - np.log(1 - p[negatives]).mean()) / 2
            )
    offsets = np.array([best_offset(c, i) for c, i in zip(cosine, mask, strict=True)])
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


def best_offset(cosine: np.ndarray, mask: np.ndarray) -> int:
    """Returns the offset of audio against video with the highest mean cosine, frames."""
    n = int(mask.sum())
    shifts = range(-min(MAX_OFFSET, n - 1), min(MAX_OFFSET, n - 1) + 1)
    return max(shifts, key=lambda shift: np.diagonal(cosine[:n, :n], shift).mean())
